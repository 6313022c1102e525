"""Sew the other teams' pipelines into one: `python aggregate.py [--take NAME@TAG …]`.

A part that is taken comes by its tag, any other as pipelines.lock has it. Each has to come whole,
load and fit, alone. One that does not is named and stays as the lock has it; where the lock has
none, it is left out. The others go on.

REGISTRY_URL and REGISTRY_TOKEN say where and who. Exit code 0: as asked; 3: made, but a part is
older than asked or left out; 1: nothing was made.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fetch import OtherBytes, fetch_locked, fetch_tag
from kfp import compiler, components
from kfp.registry import ApiAuth, RegistryClient
from lock_file import Pin, read_lock, write_lock
from report import PARTS, compose
from requests import HTTPError, RequestException

#: How to get one version of a part, and what it is called.
Source = tuple[str, Callable[[], tuple[Pin, str]]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--take", metavar="NAME@TAG", action="append", default=[])
    parser.add_argument("--lock", type=Path, default=Path("pipelines.lock"))
    parser.add_argument("--out", type=Path, default=Path("flight-report.yaml"))
    given = parser.parse_args(arguments)
    asked = dict(one.partition("@")[::2] for one in given.take)
    for name, tag in asked.items():
        if name not in PARTS or not tag:
            parser.error(f"--take {name}@{tag}: write NAME@TAG, of {', '.join(PARTS)}")

    locked = read_lock(given.lock)
    with tempfile.TemporaryDirectory() as folder:
        sources = sources_of(asked, locked, Path(folder))
        found = {name: choose(name, sources[name], Path(folder)) for name in PARTS}
        parts = {name: part for name, part in found.items() if part is not None}
        if not parts:
            print(f"nothing to aggregate; take some of {', '.join(PARTS)}", file=sys.stderr)
            return 1
        made = Path(folder, given.out.name)
        whole = compose({name: part.component for name, part in parts.items()})
        compiler.Compiler().compile(whole, str(made))
        given.out.write_bytes(made.read_bytes())
    # A part that was left out keeps its line: its team's trouble may pass.
    pins = {name: part.pin for name, part in parts.items()}
    write_lock(given.lock, {**locked, **pins}.values())
    print(f"{given.out}: {', '.join(f'{pin.name}@{pin.tag}' for pin in pins.values())}")
    return 0 if len(parts) == len(PARTS) and all(part.first for part in parts.values()) else 3


def sources_of(
    asked: Mapping[str, str], locked: Mapping[str, Pin], folder: Path
) -> dict[str, list[Source]]:
    """For each part: what was asked for, then what the lock has."""
    url = os.environ["REGISTRY_URL"].rstrip("/")
    client = RegistryClient(host=url, auth=ApiAuth(os.environ["REGISTRY_TOKEN"]))
    repository = "/".join(url.split("/")[-2:])
    sources: dict[str, list[Source]] = {name: [] for name in PARTS}
    for name, tag in asked.items():
        by_tag = partial(fetch_tag, client, repository, name, tag, folder)
        sources[name].append((f"{name}@{tag}", by_tag))
    for name, pin in locked.items():
        if name in sources:
            by_digest = partial(fetch_locked, client, pin, folder)
            sources[name].append((f"{name}@{pin.tag} of the lock", by_digest))
    return sources


@dataclass(frozen=True)
class Part:
    pin: Pin
    component: Any
    #: Whether it is what was wanted first.
    first: bool


def choose(name: str, sources: Sequence[Source], folder: Path) -> Part | None:
    """The first that comes whole and fits, if any does; says what is wrong with the others."""
    for index, (what, fetch) in enumerate(sources):
        try:
            pin, file = fetch()
            return Part(pin, load(name, file, folder), first=index == 0)
        except HTTPError as error:  # which has the status alone; the answer tells why
            said = f"{error} {error.response.text}".rstrip()
            print(f"{what} does not come: {said}", file=sys.stderr)
        except OtherBytes as error:
            print(f"{what} does not come: {error}", file=sys.stderr)
        except DoesNotFit as error:
            print(f"{what} does not fit: {error}", file=sys.stderr)
    print(f"{name} is left out", file=sys.stderr)
    return None


class DoesNotFit(Exception):
    """The part itself, alone, cannot be loaded or called as this codebase calls it."""


def load(name: str, file: str, folder: Path) -> Any:
    """The component, tried out alone, so that what is wrong with it is known to be its own."""
    try:
        part = components.load_component_from_file(file)
        compiler.Compiler().compile(compose({name: part}), str(folder / f"{name}_alone.yaml"))
    except Exception as error:  # whatever another team's file makes the SDK raise
        raise DoesNotFit(f"{type(error).__name__}: {error}") from error
    return part


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RequestException as error:
        sys.exit(f"the registry does not answer: {error}")
