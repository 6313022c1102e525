"""One seamline.toml as a typed value."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seamline.app.declarations import (
    Declarations,
    DeploymentDeclaration,
    EnvironmentDeclaration,
    ModelDeclaration,
    MonitorDeclaration,
    ReleaseDeclaration,
    TeamDeclaration,
    TriggerDeclaration,
)
from seamline.data.declaration import DatasetDeclaration
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput, nearest
from seamline.hooks.declaration import HookDeclaration, check_event, check_url, split_secret
from seamline.measure.evaluation.checks import parse_check
from seamline.project.evaluations import check_evaluation
from seamline.project.policies import check_environment
from seamline.project.reader import Source, read_declared
from seamline.train.ir.quantities import parse_bytes

SECTIONS: Mapping[str, type] = {
    "environments": EnvironmentDeclaration,
    "teams": TeamDeclaration,
    "datasets": DatasetDeclaration,
    "models": ModelDeclaration,
    "releases": ReleaseDeclaration,
    "deployments": DeploymentDeclaration,
    "monitors": MonitorDeclaration,
    "triggers": TriggerDeclaration,
    "hooks": HookDeclaration,
}
_TOP = ("project", "team", *SECTIONS)
#: A receiver that needs longer does its work after its answer.
_LONGEST_HOOK_S = 60.0
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class ProjectFile:
    project: str
    team: str
    declarations: Declarations
    #: The text, so that what is wrong can be pointed at.
    source: Source


def read_project_file(text: str, name: str = "seamline.toml") -> ProjectFile:
    """Raises InvalidInput that names file and line, and the nearest key where one was mistyped."""
    source = Source(name, text)
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidInput(f"{name}: {error}.", next_step="It is not TOML as it stands.") from error
    for key in document:
        if key not in _TOP:
            raise source.error(key, f"there is no section or key {key!r}.", nearest(key, _TOP))
    for key in ("project", "team"):
        if not isinstance(document.get(key), str):
            raise source.error(key, f"{key} is missing.", f'Add {key} = "…" at the top.')
        if not _NAME.fullmatch(document[key]):
            raise source.error(
                key,
                f"{key} = {document[key][:80]!r} cannot be a name.",
                "Use lower-case letters, digits and - (at most 63).",
            )
    sections = {
        section: _read_section(cls, document.get(section, {}), section, source)
        for section, cls in SECTIONS.items()
    }
    declarations = Declarations(**sections)
    _check_values(declarations, source)
    return ProjectFile(document["project"], document["team"], declarations, source)


def _read_section(cls: type[Any], tables: object, section: str, source: Source) -> dict[str, Any]:
    if not isinstance(tables, dict):
        raise source.error(section, f"{section} has to be a table of tables.")
    for name in tables:
        if not _NAME.fullmatch(name):
            raise source.error(
                f"{section}.{name}",
                f"{name!r} cannot be a name.",
                "Use lower-case letters, digits and - (at most 63).",
            )
    return {
        name: read_declared(cls, table, f"{section}.{name}", source, name=name)
        for name, table in tables.items()
    }


def _check_values(declarations: Declarations, source: Source) -> None:
    """What types cannot say: durations, checks and references inside the file."""
    for environment in declarations.environments.values():
        check_environment(environment, source)
    for name, team in declarations.teams.items():
        if team.slots < 1:
            where = f"teams.{name}.slots"
            raise source.error(
                where,
                f"{where} has to be 1 or more, not {team.slots}.",
                "Leave the team out, and it has no limit of its own.",
            )
    for name, trigger in declarations.triggers.items():
        source.pointing(f"triggers.{name}.cool_down", parse_duration_s, trigger.cool_down)
    for model in declarations.models.values():
        _check_model(model, source)
    for name, release in declarations.releases.items():
        for reference in release.pipelines:
            if not all(reference.partition("@")):
                where = f"releases.{name}.pipelines"
                raise source.error(where, f"{where}: {reference!r} has to be NAME@TAG.")
    for name, deployment in declarations.deployments.items():
        source.pointing(f"deployments.{name}.memory", parse_bytes, deployment.memory)
        if deployment.keep is not None:
            source.pointing(f"deployments.{name}.keep", parse_duration_s, deployment.keep)
    for hook in declarations.hooks.values():
        _check_hook(hook, source)
    for name, monitor in declarations.monitors.items():
        for check in monitor.checks:
            source.pointing(f"monitors.{name}.checks", parse_check, check)
        if monitor.window not in ("day", "week", "month"):
            where = f"monitors.{name}.window"
            raise source.error(where, f"{where} has to be day, week or month.")


def _check_hook(hook: HookDeclaration, source: Source) -> None:
    here = f"hooks.{hook.name}"
    source.pointing(f"{here}.url", check_url, hook.url)
    source.pointing(f"{here}.secret", split_secret, hook.secret)
    source.pointing(f"{here}.timeout", parse_duration_s, hook.timeout)
    for event in hook.events:
        source.pointing(f"{here}.events", check_event, event)
    if not hook.events:
        raise source.error(f"{here}.events", f"{here}.events names nothing to tell.")
    if not 0 < parse_duration_s(hook.timeout) <= _LONGEST_HOOK_S:
        raise source.error(
            f"{here}.timeout", f"{here}.timeout has to be 60s or less, not {hook.timeout!r}."
        )


def _check_model(model: ModelDeclaration, source: Source) -> None:
    here = f"models.{model.name}"
    for key in ("output", "samples", "profile"):
        named = getattr(model, key)
        if named is None:
            continue
        task, _, output = named.partition(".")
        if not task or not output:
            raise source.error(
                f"{here}.{key}", f"{here}.{key} has to be 'task.output', not {named!r}."
            )
        if "[" in task:
            raise source.error(
                f"{here}.{key}",
                f"{here}.{key} = {named!r} names one round of a loop.",
                "Leave the index out: each round makes a model.",
            )
    if "" in model.per or len(set(model.per)) < len(model.per):
        raise source.error(
            f"{here}.per", f"{here}.per has to name different fields, not {list(model.per)}."
        )
    if model.evaluation is not None:
        check_evaluation(model.evaluation, f"{here}.evaluation", source)
