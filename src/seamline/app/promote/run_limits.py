"""Decides whether a run of a prediction pipeline is one that may go live: pure rules.

One run of each stands against the other: a single time or peak has no interval, so the limits are
factors, with a margin below which no difference counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from seamline.app.promote.run_measures import RunMade, TableMade, count_common
from seamline.domain.durations import parse_duration_s
from seamline.domain.states import Verdict
from seamline.promote.gate_rules import PipelineRule

#: Differences below these are noise of a machine that does other things, too.
MARGIN_S = 10.0
MARGIN_BYTES = 64_000_000
_MB = 1_000_000
_ALMOST_ALL = 0.999
#: Of the incumbent's keys, where the policy names no part.
_COVERED = 0.99


@dataclass(frozen=True)
class Finding:
    """`limit` is None where nothing is there to hold it against."""

    what: str
    value: float
    limit: float | None
    unit: str
    sentence: str
    at_most: bool = True

    @property
    def verdict(self) -> Verdict:
        if self.limit is None:
            return Verdict.PASS
        fits = self.value <= self.limit if self.at_most else self.value >= self.limit
        return Verdict.PASS if fits else Verdict.FAIL

    def to_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "value": self.value,
            "limit": self.limit,
            "limit_is": "most" if self.at_most else "least",
            "unit": self.unit,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
        }


def decide_run(rule: PipelineRule, made: RunMade, before: RunMade | None) -> list[Finding]:
    """`before`: the incumbent's run, where there is one. Its tables count where both read the same
    versions of the data."""
    return [
        _time(rule, made, before),
        _memory(rule, made, before),
        *_tables(rule, made, before),
    ]


def _time(rule: PipelineRule, made: RunMade, before: RunMade | None) -> Finding:
    limits = [parse_duration_s(rule.longest)] if rule.longest else []
    told = ""
    if before is not None:
        limits.append(max(before.task_s * rule.slower, before.task_s + MARGIN_S))
        told = f", the incumbent's {before.task_s:.1f} s"
    sentence = f"its tasks took {made.task_s:.1f} s{told}"
    return Finding("time", round(made.task_s, 3), _least(limits), "s", sentence)


def _memory(rule: PipelineRule, made: RunMade, before: RunMade | None) -> Finding:
    limits = [rule.memory_mb] if rule.memory_mb else []
    peak, told = made.peak_bytes / _MB, ""
    if before is not None:
        most = max(before.peak_bytes * rule.larger, before.peak_bytes + MARGIN_BYTES)
        limits.append(most / _MB)
        told = f", the incumbent's {before.peak_bytes / _MB:.0f} MB"
    sentence = f"its peak of memory was {peak:.0f} MB{told}"
    return Finding("memory", round(peak, 1), _least(limits), "MB", sentence)


def _least(limits: list[float]) -> float | None:
    return round(min(limits), 3) if limits else None


def _tables(rule: PipelineRule, made: RunMade, before: RunMade | None) -> Iterator[Finding]:
    is_same = before is not None and before.read == made.read
    rivals = before.tables if before is not None and is_same else {}
    for name in rivals:
        if name not in made.tables:
            yield Finding(f"{name}: rows", 0, 1, "rows", f"it made no table {name}", at_most=False)
    for name, table in made.tables.items():
        yield from _table(rule, name, table, rivals.get(name))


def _table(
    rule: PipelineRule, name: str, table: TableMade, rival: TableMade | None
) -> Iterator[Finding]:
    if rival is None or rival.rows:
        sentence = f"{name} has {table.rows} rows"
        yield Finding(f"{name}: rows", table.rows, 1, "rows", sentence, at_most=False)
    yield from _coverage(rule, name, table, rival)
    if table.keys is not None:
        sentence = f"{table.duplicates} rows of {name} answer a key that another row answers"
        yield Finding(f"{name}: answered twice", table.duplicates, 0, "rows", sentence)
    for column, part in table.nulls.items():
        known = rival.nulls.get(column) if rival is not None else None
        if known is not None:
            sentence = f"{part:.1%} of {name}.{column} is null, of the incumbent's {known:.1%}"
            yield Finding(
                f"{name}.{column}: nulls",
                round(part, 6),
                round(known + rule.nulls, 6),
                "",
                sentence,
            )
        elif rival is None and part == 1.0 and table.rows:
            sentence = f"{name}.{column} is null in all of its rows"
            yield Finding(f"{name}.{column}: nulls", part, _ALMOST_ALL, "", sentence)
    for column in rival.nulls if rival is not None else ():
        if column not in table.nulls:
            sentence = f"{name} has no column {column} any more"
            yield Finding(f"{name}.{column}: columns", 0, 1, "columns", sentence, at_most=False)


def _coverage(
    rule: PipelineRule, name: str, table: TableMade, rival: TableMade | None
) -> Iterator[Finding]:
    least = _COVERED if rule.coverage is None else rule.coverage
    what = f"{name}: keys answered"
    if rival is not None and rival.keys is not None and rival.keys.height:
        total = rival.keys.height
        kept = 0 if table.keys is None else count_common(rival.keys, table.keys)
        sentence = f"{name} answers {kept} of the {total} keys that the incumbent answers"
        yield Finding(what, round(kept / total, 6), least, "", sentence, at_most=False)
    elif rival is not None and rival.rows:
        part = table.rows / rival.rows
        sentence = f"{name} has {table.rows} rows where the incumbent's has {rival.rows}"
        yield Finding(what, round(part, 6), least, "", sentence, at_most=False)
    if table.asked:
        part = (table.answered or 0) / table.asked
        limit = rule.coverage if rival is None else None
        sentence = f"{name} answers {table.answered} of the {table.asked} keys that it was asked"
        yield Finding(f"{name}: of its input", round(part, 6), limit, "", sentence, at_most=False)
