"""`seamline plan` and `seamline apply`: what would change, and the change itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import Connection, delete, insert, select

from seamline.app.declarations import Declarations, family_of
from seamline.data.contracts.declared import (
    ContractChange,
    plan_contracts,
    read_declared_contracts,
    record_contracts,
)
from seamline.domain.clock import iso
from seamline.domain.errors import Refused
from seamline.domain.facts import ProjectApplied
from seamline.hooks.deliveries import record_hooks
from seamline.project.file import SECTIONS, ProjectFile, read_project_file
from seamline.project.policies import policies_of
from seamline.project.references import check_references
from seamline.promote.environments import apply_policies, list_environments
from seamline.promote.policy import DEFAULT_POLICIES, EnvironmentPolicy, check_policies
from seamline.register.owners import publishers_of
from seamline.store.canonical import digest_of_json
from seamline.store.schema import CHAIN_HEAD, SETTINGS
from seamline.store.stores import Stores
from seamline.trust.roles import Principal
from seamline.trust.teams import not_their_team

_PREFIX = "project/"


@dataclass(frozen=True)
class Change:
    """One line of a plan: `sign` is + (new), ~ (changed) or - (gone)."""

    sign: str
    section: str
    name: str
    detail: str

    def sentence(self) -> str:
        return f"{self.sign} {self.section}.{self.name}{': ' if self.detail else ''}{self.detail}"


@dataclass(frozen=True)
class Plan:
    project: str
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        return {"project": self.project, "changes": [asdict(change) for change in self.changes]}


def plan_project(
    stores: Stores, text: str, file_name: str, contracts: Mapping[str, str] | None = None
) -> Plan:
    """What applying would change; raises Refused for what another project owns.

    `contracts`: the contracts' files that the datasets name, by path.
    """
    with stores.db.read() as connection:
        file = read_project_file(text, file_name)
        return _plan(connection, file, _contract_changes(connection, file, contracts or {}))


def apply_project(
    stores: Stores,
    text: str,
    file_name: str,
    *,
    by: str,
    who: Principal | None = None,
    contracts: Mapping[str, str] | None = None,
) -> Plan:
    """All of the file in one transaction; applying the same file again changes nothing.

    `who`: where their role or token is for some teams, Forbidden for what is not theirs.
    """
    file = read_project_file(text, file_name)
    with stores.db.transaction() as tx:
        # One after the other: somebody may publish a package of a model's name at this moment.
        tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()
        before = _applied(tx).get(file.project)
        if who is not None and who.reach is not None:
            _check_team(who, file, before)
        changed = _contract_changes(tx, file, contracts or {})
        plan = _plan(tx, file, changed)
        if not plan.changes:
            return plan
        document = json.dumps({"file": file_name, "text": text, "by": by})
        name = _PREFIX + file.project
        tx.execute(delete(SETTINGS).where(SETTINGS.c.name == name))
        tx.execute(insert(SETTINGS).values(name=name, value=document))
        if any(change.section == "environments" for change in plan.changes):
            apply_policies(tx, stores.facts, _policies_after(file), by=by)
        record_hooks(tx, before.declarations.hooks if before else {}, file.declarations.hooks)
        record_contracts(tx, stores.facts, changed, by=by, at=iso(stores.clock.now()))
        sentences = tuple(change.sentence() for change in plan.changes)
        fact = ProjectApplied(file.project, digest_of_json(text), sentences)
        stores.facts.append(tx, fact, by=by)
    return plan


def _contract_changes(
    connection: Connection, file: ProjectFile, texts: Mapping[str, str]
) -> list[ContractChange]:
    before = _applied(connection).get(file.project)
    datasets = file.declarations.datasets
    owned = {**(before.declarations.datasets if before else {}), **datasets}
    return plan_contracts(connection, read_declared_contracts(datasets, texts), owned)


def load_declarations(connection: Connection) -> Declarations:
    """Everything that the applied projects declare."""
    merged: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    owners: dict[str, str] = {}
    team_of: dict[str, str] = {}
    for row in _rows(connection):
        stored = json.loads(row.value)
        file = read_project_file(stored["text"], stored["file"])
        for section, things in merged.items():
            declared = getattr(file.declarations, section)
            things.update(declared)
            owners |= {f"{section}.{name}": stored["by"] for name in declared}
            team_of |= {f"{section}.{name}": file.team for name in declared}
    return Declarations(**merged, owners=owners, team_of=team_of)


def project_declaring(connection: Connection, name: str) -> str | None:
    """The applied project that declares a model which would be packaged under this name, be it one
    of a family's."""
    wanted = canonicalize_name(name)
    for project, file in _applied(connection).items():
        models = {
            str(canonicalize_name(one)): declared
            for one, declared in file.declarations.models.items()
        }
        if family_of(wanted, models) is not None:
            return project
    return None


def _plan(connection: Connection, file: ProjectFile, contracts: Sequence[ContractChange]) -> Plan:
    applied = _applied(connection)
    before = applied.pop(file.project, None)
    changes: list[Change] = []
    if before is not None and before.team != file.team:
        changes.append(Change("~", "project", "team", f"{before.team!r} → {file.team!r}"))
    for section in SECTIONS:
        new = getattr(file.declarations, section)
        old = getattr(before.declarations, section) if before else {}
        _check_owner(section, new, applied)
        if section != "environments":
            changes += _section_changes(section, old, new)
        elif new or old:
            changes += _environment_changes(connection, file)
            changes += _parameter_changes(old, new)
        if section == "models":
            _check_publishers(connection, set(new) - set(old))
    if file.declarations.environments:
        check_policies(policies_of(file.declarations))
    check_references(file, applied, (one.name for one in list_environments(connection)))
    changes += [Change("~", "contracts", one.dataset, one.sentence()) for one in contracts]
    return Plan(file.project, tuple(changes))


def _check_team(who: Principal, file: ProjectFile, before: ProjectFile | None) -> None:
    """The file as it is to be, and as it was: neither may reach further than the team."""
    for one in (file, before):
        if one is None:
            continue
        if who.reach is not None and one.team not in who.reach:
            raise not_their_team(who, f"the project {one.project} of the team {one.team}")
        for section in ("environments", "teams", "hooks"):
            if getattr(one.declarations, section):
                raise not_their_team(
                    who, f"the project {one.project}, whose {section} are every team's"
                )


def _section_changes(section: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    changes = [Change("+", section, name, "") for name in new if name not in old]
    changes += [
        Change("~", section, name, _difference(old[name], new[name]))
        for name in new
        if name in old and old[name] != new[name]
    ]
    return changes + [Change("-", section, name, "") for name in old if name not in new]


def _environment_changes(connection: Connection, file: ProjectFile) -> list[Change]:
    """Against what stands: it may be the shipped policies, which no file declares."""
    standing = {one.name: one.policy for one in list_environments(connection)}
    new = {policy.name: policy for policy in _policies_after(file)}
    return _section_changes("environments", standing, new)


def _parameter_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What reaches an environment's runs, and is no part of its policy."""
    changes = []
    for name, one in new.items():
        before = old[name].arguments if name in old else {}
        if before != one.arguments:
            told = _told(_flat(before, "parameters."), _flat(one.arguments, "parameters."))
            changes.append(Change("~", "environments", name, told))
    return changes


def _policies_after(file: ProjectFile) -> tuple[EnvironmentPolicy, ...]:
    """A file that declares environments declares all; without any, the shipped ones return."""
    return policies_of(file.declarations) or DEFAULT_POLICIES


def _difference(old: Any, new: Any) -> str:
    return _told(_flat(asdict(old)), _flat(asdict(new)))


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """
    >>> _told({"gates": ("digests", "evaluation")}, {"gates": ("digests", "load"), "warm": 2})
    'gates: + load, - evaluation; warm: none → 2'
    """
    return "; ".join(
        f"{key}: {_change(before.get(key), after.get(key))}"
        for key in dict.fromkeys([*after, *before])
        if before.get(key) != after.get(key)
    )


def _change(old: Any, new: Any) -> str:
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        came = [f"+ {_said(one)}" for one in new if one not in old]
        went = [f"- {_said(one)}" for one in old if one not in new]
        if came or went:
            return ", ".join(came + went)
    return f"{_said(old)} → {_said(new)}"


def _flat(document: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """What lies in tables of tables is told by itself.

    >>> _flat({"warm": 2, "gate": {"security": {"oldest": "7d"}}})
    {'warm': 2, 'gate.security.oldest': '7d'}
    """
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{within}{key}.")
        else:
            flat[f"{within}{key}"] = value
    return flat


def _said(value: Any) -> str:
    """As the file has it."""
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _check_owner(section: str, new: Mapping[str, Any], others: Mapping[str, ProjectFile]) -> None:
    for project, file in others.items():
        owned = getattr(file.declarations, section)
        clash = "environments" if section == "environments" and owned and new else None
        taken = sorted(set(new) & set(owned))
        if taken or clash:
            what = f"{section}.{taken[0]}" if taken else "environments"
            raise Refused(
                f"{what} belongs to the project {project!r}.",
                next_step="Change it there, or choose another name here.",
            )


def _check_publishers(connection: Connection, models: set[str]) -> None:
    """The first training of such a model would be refused: better now than then."""
    for name, owner in sorted(publishers_of(connection, models).items()):
        raise Refused(
            f"models.{name}: {owner} has published a package of that name; a model cannot take it.",
            next_step="Choose another name here.",
        )


def _applied(connection: Connection) -> dict[str, ProjectFile]:
    files = {}
    for row in _rows(connection):
        stored = json.loads(row.value)
        files[row.name.removeprefix(_PREFIX)] = read_project_file(stored["text"], stored["file"])
    return files


def _rows(connection: Connection) -> Sequence[Any]:
    query = select(SETTINGS).where(SETTINGS.c.name.like(f"{_PREFIX}%")).order_by(SETTINGS.c.name)
    return connection.execute(query).all()
