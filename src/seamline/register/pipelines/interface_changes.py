"""Which differences between two interfaces break whoever uses the older one.

"Uses" is what an aggregated pipeline does: it passes inputs by name and type, leaves out those
that may be left out, and reads outputs by name and type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.register.pipelines.interfaces import Interface, Port


class Side(StrEnum):
    INPUT = "input"
    OUTPUT = "output"


class Effect(StrEnum):
    BREAKING = "breaking"
    COMPATIBLE = "compatible"


class What(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    TYPE = "type changed"
    DEFAULT = "default changed"
    REQUIRED = "now required"
    OPTIONAL = "now optional"
    VALUES = "allowed values changed"
    DESCRIPTION = "description changed"


@dataclass(frozen=True)
class Change:
    side: Side
    name: str
    what: What
    effect: Effect
    reason: str

    @property
    def is_breaking(self) -> bool:
        return self.effect is Effect.BREAKING

    def __str__(self) -> str:
        return f"{self.side} {self.name} {self.what}: {self.reason}"

    def to_json(self) -> dict[str, str]:
        return {
            "side": self.side.value,
            "name": self.name,
            "what": self.what.value,
            "effect": self.effect.value,
            "reason": self.reason,
        }


def decide_changes(before: Interface, after: Interface) -> tuple[Change, ...]:
    """Breaking ones first; none: callers cannot tell the two apart.

    >>> from seamline.register.pipelines.interfaces import Port
    >>> day, hour = Port("STRING"), Port("NUMBER_INTEGER", has_default=True, default=6)
    >>> for change in decide_changes(Interface({"day": day}), Interface({"hour": hour})):
    ...     print(change.effect, "-", change)
    breaking - input day removed: callers that pass it cannot be compiled any more
    compatible - input hour added: callers that do not know it get its default
    """
    changes = [
        *_decide_side(Side.INPUT, before.inputs, after.inputs),
        *_decide_side(Side.OUTPUT, before.outputs, after.outputs),
    ]
    return tuple(sorted(changes, key=lambda change: not change.is_breaking))


def breaks_of(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.is_breaking)


def _decide_side(side: Side, before: Mapping[str, Port], after: Mapping[str, Port]) -> list[Change]:
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    changes = []
    if len(gone) == len(new) == 1 and _is_same_type(before[gone[0]], after[new[0]]):
        changes.append(_break(side, gone[0], What.RENAMED, f"it is called {new[0]} now"))
    else:
        changes += [_removed(side, name) for name in gone]
        changes += [_added(side, name, after[name]) for name in new]
    for name in before:
        if name in after:
            changes += _decide_port(side, name, before[name], after[name])
    return changes


def _removed(side: Side, name: str) -> Change:
    who = "pass" if side is Side.INPUT else "read"
    return _break(side, name, What.REMOVED, f"callers that {who} it cannot be compiled any more")


def _added(side: Side, name: str, port: Port) -> Change:
    if side is Side.OUTPUT:
        return _fits(side, name, What.ADDED, "nobody reads it yet")
    if port.must_be_given:
        return _break(side, name, What.ADDED, "it has no default, and callers do not pass it")
    what = "its default" if port.has_default else "nothing, which it allows"
    return _fits(side, name, What.ADDED, f"callers that do not know it get {what}")


def _decide_port(side: Side, name: str, before: Port, after: Port) -> list[Change]:
    changes = []
    if not _is_same_type(before, after):
        told = f"{before.spell_type()} became {after.spell_type()}"
        changes.append(_break(side, name, What.TYPE, told))
    elif before.schema_version != after.schema_version:
        told = f"{before.spell_type()} became {after.spell_type()}, of the same major version"
        changes.append(_fits(side, name, What.TYPE, told))
    if side is Side.INPUT:
        changes += _decide_need(name, before, after)
    changes += _decide_values(side, name, before, after)
    if before.description != after.description:
        changes.append(_fits(side, name, What.DESCRIPTION, "it says something else"))
    return changes


def _decide_need(name: str, before: Port, after: Port) -> list[Change]:
    if not before.must_be_given and after.must_be_given:
        why = "callers that leave it out cannot be compiled any more"
        return [_break(Side.INPUT, name, What.REQUIRED, why)]
    if before.has_default and not after.has_default:
        why = f"callers that leave it out got {before.default!r}, and get nothing now"
        return [_break(Side.INPUT, name, What.DEFAULT, why)]
    if before.must_be_given and not after.must_be_given:
        return [_fits(Side.INPUT, name, What.OPTIONAL, "callers go on passing it")]
    if after.has_default and not (
        before.has_default and _is_same_value(before.default, after.default)
    ):
        was = repr(before.default) if before.has_default else "nothing"
        why = f"callers that leave it out get {after.default!r} instead of {was}"
        return [_fits(Side.INPUT, name, What.DEFAULT, why)]
    return []


def _decide_values(side: Side, name: str, before: Port, after: Port) -> list[Change]:
    """An input that takes less, or an output that gives more, meets what nobody expects."""
    if _spell(before.literals) == _spell(after.literals):
        return []
    wide, narrow = (before, after) if side is Side.INPUT else (after, before)
    fits = not narrow.literals or (
        bool(wide.literals) and _spell(wide.literals) <= _spell(narrow.literals)
    )
    was, now = (", ".join(map(str, one.literals)) or "any" for one in (before, after))
    make = _fits if fits else _break
    return [make(side, name, What.VALUES, f"it could be {was}, and can be {now} now")]


def _is_same_type(before: Port, after: Port) -> bool:
    """As the KFP compiler compares them, by the schema's major version; but a type that became
    the general system.Artifact is another one: what reads it was written for the special one."""
    majors = [port.schema_version.partition(".")[0] for port in (before, after)]
    kinds = [(port.type, port.is_list, bool(port.schema_version)) for port in (before, after)]
    return majors[0] == majors[1] and kinds[0] == kinds[1]


def _is_same_value(before: Any, after: Any) -> bool:
    """Python takes True for 1."""
    return repr(before) == repr(after)


def _spell(values: tuple[Any, ...]) -> frozenset[str]:
    return frozenset(map(repr, values))


def _break(side: Side, name: str, what: What, reason: str) -> Change:
    return Change(side, name, what, Effect.BREAKING, reason)


def _fits(side: Side, name: str, what: What, reason: str) -> Change:
    return Change(side, name, what, Effect.COMPATIBLE, reason)
