"""Which differences between two signatures break whoever asks the endpoint that had the first.

"Asks" is what the data plane lets callers do: they send every input by name, in a datatype that
fits it; those that may be null may be left out; a name that it does not know is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from seamline.serve.datatypes import TEXT, fits

_KINDS: Mapping[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: TEXT}


@dataclass(frozen=True)
class Sent:
    """What callers have sent of late: rows, and of each column how many were null, how many were
    sent at all, and as what."""

    rows: int = 0
    present: Mapping[str, int] = field(default_factory=dict)
    nulls: Mapping[str, int] = field(default_factory=dict)
    datatypes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Of these the log holds nothing.
    unlogged: Set[str] = frozenset()

    def tells(self, name: str) -> bool:
        return self.rows > 0 and name not in self.unlogged

    def always(self, name: str, datatype: str) -> bool:
        """Whether every row had a value there, of a kind that fits."""
        return (
            self.rows > 0
            and self.present.get(name, 0) == self.rows
            and not self.nulls.get(name, 0)
            and all(fits(one, datatype) for one in self.datatypes.get(name, ()))
        )


@dataclass(frozen=True)
class EndpointChange:
    """`side`: "input" or "output"; `name`: of the column."""

    side: str
    name: str
    what: str
    reason: str
    breaks: bool

    def __str__(self) -> str:
        return f"{self.side} {self.name} {self.what}: {self.reason}"


def sent_in(
    rows: list[Mapping[str, Any]], hidden: Set[str] = frozenset(), unlogged: Set[str] = frozenset()
) -> Sent:
    """`hidden`: columns of which the log keeps hashes: what they were sent as is not known.
    `unlogged`: those of which it keeps nothing.

    >>> found = sent_in([{"hour": 6, "tail": "N1"}, {"hour": None, "tail": "N2"}])
    >>> found.rows, found.nulls["hour"], found.always("tail", "BYTES"), found.always("hour", "FP64")
    (2, 1, True, False)
    """
    present: dict[str, int] = {}
    nulls: dict[str, int] = {}
    datatypes: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.items():
            present[name] = present.get(name, 0) + 1
            if value is None:
                nulls[name] = nulls.get(name, 0) + 1
            elif name not in hidden:
                datatypes.setdefault(name, set()).add(_KINDS.get(type(value), TEXT))
    kinds = {name: frozenset(found) for name, found in datatypes.items()}
    return Sent(len(rows), present, nulls, kinds, unlogged)


def decide_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], sent: Sent, context: Set[str] = frozenset()
) -> list[EndpointChange]:
    """`before`, `after`: `signature` of model.json. `context`: names that the endpoint logs without
    the model's taking them. Breaking ones first.

    >>> hour = {"name": "hour", "datatype": "INT64"}
    >>> label = {"name": "label", "datatype": "INT64"}
    >>> old = {"inputs": [hour], "outputs": [label]}
    >>> new = {"inputs": [{**hour, "name": "sched_hour"}], "outputs": [label]}
    >>> for change in decide_changes(old, new, Sent()):
    ...     print(change.breaks, change)
    True input hour renamed: callers send hour, and the model takes sched_hour
    """
    changes = [
        *_inputs(_named(before["inputs"]), _named(after["inputs"]), sent, context),
        *_outputs(_named(before["outputs"]), _named(after["outputs"])),
    ]
    return sorted(changes, key=lambda change: not change.breaks)


_Column = Mapping[str, Any]
_Columns = Mapping[str, _Column]


def _named(columns: list[_Column]) -> _Columns:
    return {column["name"]: column for column in columns}


def _inputs(
    before: _Columns, after: _Columns, sent: Sent, context: Set[str]
) -> Iterator[EndpointChange]:
    gone = [name for name in before if name not in after and name not in context]
    new = [name for name in after if name not in before]
    renamed = _renamed(before, after, gone, new)
    if renamed is not None:
        old, now = renamed
        reason = f"callers send {old}, and the model takes {now}"
        yield EndpointChange("input", old, "renamed", reason, True)
    else:
        for name in gone:
            reason = f"callers send it, and are refused{_logged(sent, name)}"
            yield EndpointChange("input", name, "removed", reason, True)
        for name in new:
            yield _added(after[name], sent)
    for name in before:
        if name in after:
            yield from _input(before[name], after[name], sent)


def _renamed(
    before: _Columns, after: _Columns, gone: list[str], new: list[str]
) -> tuple[str, str] | None:
    if len(gone) != 1 or len(new) != 1:
        return None
    old, now = gone[0], new[0]
    return (old, now) if before[old]["datatype"] == after[now]["datatype"] else None


def _added(column: _Column, sent: Sent) -> EndpointChange:
    name = column["name"]
    if sent.always(name, column["datatype"]):
        reason = f"all of the last {sent.rows} rows had it already"
        return EndpointChange("input", name, "added", reason, False)
    if column.get("nullable"):
        reason = "callers that leave it out are answered as if it were null"
        return EndpointChange("input", name, "added", reason, False)
    lacking = sent.rows - sent.present.get(name, 0) + sent.nulls.get(name, 0)
    told = f"{lacking} of the last {sent.rows} rows came without it" if sent.tells(name) else ""
    reason = f"every caller has to send it{': ' if told else ''}{told}"
    return EndpointChange("input", name, "added, and required", reason, True)


def _input(old: _Column, new: _Column, sent: Sent) -> Iterator[EndpointChange]:
    name = old["name"]
    if old["datatype"] != new["datatype"]:
        reason = f"{old['datatype']} became {new['datatype']}"
        breaks = not fits(old["datatype"], new["datatype"])
        yield EndpointChange("input", name, "retyped", reason, breaks)
    if old.get("unit", "") != new.get("unit", "") and old.get("unit") and new.get("unit"):
        reason = f"it was in {old['unit']} and is in {new['unit']}: callers send the old numbers"
        yield EndpointChange("input", name, "in another unit", reason, True)
    if old.get("nullable") and not new.get("nullable"):
        nulls = sent.nulls.get(name, 0) + sent.rows - sent.present.get(name, 0)
        if sent.tells(name) and not nulls:
            reason = f"none of the last {sent.rows} rows was null"
        else:
            told = f"{nulls} of the last {sent.rows} rows were"
            told = told if sent.tells(name) else "it could be so"
            reason = f"callers that send null are refused: {told}"
        breaks = not sent.tells(name) or nulls > 0
        yield EndpointChange("input", name, "not null any more", reason, breaks)


def _outputs(before: _Columns, after: _Columns) -> Iterator[EndpointChange]:
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    renamed = _renamed(before, after, gone, new)
    for name in gone:
        what = f"renamed to {renamed[1]}" if renamed else "removed"
        yield EndpointChange("output", name, what, "whoever reads it finds nothing", True)
    for name in new if renamed is None else ():
        yield EndpointChange("output", name, "added", "nobody reads it yet", False)
    for name, old in before.items():
        now = after.get(name)
        if now is not None and old["datatype"] != now["datatype"]:
            reason = f"{old['datatype']} became {now['datatype']}"
            yield EndpointChange("output", name, "retyped", reason, True)
        if now is not None and old.get("unit") and now.get("unit") and old["unit"] != now["unit"]:
            reason = f"it was in {old['unit']} and is in {now['unit']}"
            yield EndpointChange("output", name, "in another unit", reason, True)


def _logged(sent: Sent, name: str) -> str:
    rows = sent.present.get(name, 0) - sent.nulls.get(name, 0)
    return f": {rows} of the last {sent.rows} rows had it" if sent.tells(name) else ""
