"""How a run is to be carried out, as flags of the commands that start one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from seamline.cli.client import text_of
from seamline.cli.command import key_values
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput
from seamline.domain.states import Fidelity
from seamline.train.options import FailurePolicy, Isolation

#: A server runs nothing inside of itself: that is what `run debug` is for.
_ISOLATION = [one.value for one in Isolation if one is not Isolation.IN_PROCESS]
_FIDELITY = [one.value for one in Fidelity if one is not Fidelity.IN_PROCESS]
_OPTIONS = (
    click.option(
        "--failure-policy",
        type=click.Choice([one.value for one in FailurePolicy]),
        help="slow: independent branches finish. fast: nothing new starts after a failure.",
    ),
    click.option(
        "--isolation",
        type=click.Choice(_ISOLATION),
        help="forked: a process for each task. reuse: warm workers, faster. container: in the "
        "component's image.",
    ),
    click.option(
        "--slots", type=click.IntRange(min=1), help="So many tasks of it run at the same time."
    ),
    click.option(
        "--demand-fidelity",
        type=click.Choice(_FIDELITY),
        help="Refuse to run in a way further from production than this.",
    ),
    click.option(
        "--demand-resources",
        is_flag=True,
        help="Refuse what this machine lacks, instead of noting it.",
    ),
    click.option(
        "--cache/--no-cache",
        "enable_cache",
        default=None,
        help="For all tasks, whatever the pipeline says; without either, as it says.",
    ),
    click.option(
        "--max-age", metavar="DURATION", help="Take no older results from the cache: 30m, 7d."
    ),
)
_ARGUMENTS = (
    click.option(
        "--argument",
        "-a",
        "arguments",
        multiple=True,
        metavar="NAME=VALUE",
        help="Read by the type that the pipeline declares; lists and objects as JSON.",
    ),
    click.option(
        "--arguments",
        "arguments_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="JSON or YAML with one object; -a goes before what it says.",
    ),
)
_ENDS = (
    click.option("--wait", is_flag=True, help="Wait for its end; fail when it failed."),
    click.option("--follow", is_flag=True, help="Watch it until its end; fail when it failed."),
)
Function = Callable[..., Any]


def run_options(function: Function) -> Function:
    """Adds the flags; `options_body` takes them."""
    for option in reversed((*_OPTIONS, *_ENDS)):
        function = option(function)
    return function


def argument_options(function: Function) -> Function:
    """Adds the flags; `arguments_body` takes them."""
    for option in reversed(_ARGUMENTS):
        function = option(function)
    return function


def arguments_body(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those with types, and those that still have to be read by the declared ones."""
    file = given["arguments_file"]
    example = 'Write, for one: {"n": 5, "since": "2026-05-15"}'
    typed = read_object(file, "The arguments file", example) if file is not None else {}
    return {"arguments": typed, "texts": key_values(given["arguments"])}


def end_options(function: Function) -> Function:
    for option in reversed(_ENDS):
        function = option(function)
    return function


def options_body(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was chosen, as the server reads it.

    >>> options_body({"slots": 2, "max_age": "1h", "enable_cache": None, "demand_resources": False})
    {'slots': 2, 'cache_max_age_s': 3600.0}
    """
    names = ("failure_policy", "isolation", "slots", "demand_fidelity", "enable_cache")
    body = {name: given[name] for name in names if given.get(name) is not None}
    if given.get("demand_resources"):
        body["demand_resources"] = True
    if given.get("max_age") is not None:
        body["cache_max_age_s"] = parse_duration_s(given["max_age"])
    return body


def read_object(path: Path, what: str, example: str) -> dict[str, Any]:
    """A file of JSON or YAML that holds one object."""
    from seamline.train.ir.document import load_plain

    documents = load_plain(text_of(path).encode(), what, example)
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise InvalidInput(f"{what} has to hold one object: {path}.", next_step=example)
    return documents[0]
