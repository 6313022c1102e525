"""Decides whether an endpoint answers as fast as it has to: pure rules over blocks of time.

Each block gives one 95th percentile of each contender. What is decided on is the interval for the
median over blocks, which supposes nothing about their distribution; blocks are paired, since the
machine was the same to both of them in each. Where an interval holds the limit nothing is decided
yet: more blocks are measured, up to `LOOKS` times, and each look spends its part of the chance to
err.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.domain.states import Verdict
from seamline.measure.order_statistics import MedianInterval, median_interval
from seamline.promote.gate_rules import LoadRule

#: Of one check of one endpoint: to fail what is as it should be, or to pass what is not.
ALPHA = 0.05
LOOKS = 3
BLOCKS_PER_LOOK = 12
#: Differences below this are no difference.
MARGIN_MS = 5.0

Blocks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class LoadFinding:
    """`found` is None where nothing could be measured; `limit` may be of a difference."""

    what: str
    verdict: Verdict
    sentence: str
    found: MedianInterval | None = None
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        told = self.found
        return {
            "what": self.what,
            "verdict": self.verdict.value,
            "sentence": self.sentence,
            "median": None if told is None else round(told.median, 3),
            "low": None if told is None else round(told.low, 3),
            "high": None if told is None else round(told.high, 3),
            "blocks": 0 if told is None else told.n,
            "level": None if told is None else round(1 - ALPHA / LOOKS, 4),
            "limit": self.limit,
        }


def decide_load(rule: LoadRule, candidate: Blocks, incumbent: Blocks | None) -> list[LoadFinding]:
    """`incumbent`: in the same blocks, where something is live there."""
    findings = [_failures(candidate), _percentile(rule, candidate)]
    if rule.rps is not None:
        findings.append(_rate(rule.rps, candidate))
    if incumbent is not None:
        findings.append(_against(rule, candidate, incumbent))
    return findings


def offered_rate(rule: LoadRule, most: float) -> float:
    """What is asked for has to be offered, and a little more.

    >>> offered_rate(LoadRule(rps=200.0), 400.0), offered_rate(LoadRule(), 400.0)
    (250.0, 100.0)
    """
    return min(most, max(rule.rate, 1.25 * (rule.rps or 0.0)))


def _failures(blocks: Blocks) -> LoadFinding:
    failed = sum(one["failed"] for one in blocks)
    total = failed + sum(one["answered"] for one in blocks)
    if failed:
        said = next(one["problem"] for one in blocks if one["problem"])
        sentence = f"{failed} of {total} requests failed: {said}"
        return LoadFinding("failed", Verdict.FAIL, sentence)
    return LoadFinding("failed", Verdict.PASS, f"{total} requests answered, none failed")


def _percentile(rule: LoadRule, blocks: Blocks) -> LoadFinding:
    found = _interval([one["p95_ms"] for one in blocks])
    if found is None:
        return LoadFinding("p95", Verdict.INCONCLUSIVE, "too few blocks had answers")
    verdict = _below(found, rule.p95_ms)
    sentence = f"95 of 100 within {_ms(found)}, of at most {rule.p95_ms:g} ms"
    return LoadFinding("p95", verdict, sentence, found, rule.p95_ms)


def _rate(least: float, blocks: Blocks) -> LoadFinding:
    found = _interval([one["rps"] for one in blocks])
    if found is None:
        return LoadFinding("rps", Verdict.INCONCLUSIVE, "too few blocks had answers")
    verdict = Verdict.INCONCLUSIVE
    if found.low >= least:
        verdict = Verdict.PASS
    elif found.high < least:
        verdict = Verdict.FAIL
    told = f"{found.median:.1f} [{found.low:.1f}, {found.high:.1f}]"
    sentence = f"{told} requests/s answered, of at least {least:g}"
    return LoadFinding("rps", verdict, sentence, found, least)


def _against(rule: LoadRule, candidate: Blocks, incumbent: Blocks) -> LoadFinding:
    """Of each block, by how much the candidate is over what the incumbent lets it be."""
    pairs = [
        (mine["p95_ms"], other["p95_ms"])
        for mine, other in zip(candidate, incumbent, strict=True)
        if mine["p95_ms"] is not None and other["p95_ms"] is not None and not other["failed"]
    ]
    over = _interval([mine - _allowed(rule, other) for mine, other in pairs])
    theirs = _interval([other for _, other in pairs])
    if over is None or theirs is None:
        sentence = "the incumbent answered in too few blocks to be compared with"
        return LoadFinding("against the incumbent", Verdict.INCONCLUSIVE, sentence)
    verdict = _below(over, 0.0)
    sentence = (
        f"the incumbent's {_ms(theirs)}; the candidate's is {_ms(over)} over "
        f"{rule.slower:g} times that"
        if verdict is not Verdict.PASS
        else f"the incumbent's {_ms(theirs)}: no more than {rule.slower:g} times that"
    )
    return LoadFinding("against the incumbent", verdict, sentence, over, 0.0)


def _allowed(rule: LoadRule, incumbent_ms: float) -> float:
    return max(incumbent_ms * rule.slower, incumbent_ms + MARGIN_MS)


def _interval(values: Sequence[float | None]) -> MedianInterval | None:
    """None where answers are lacking in some block: what is not there is the slowest of all."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    return median_interval(known, ALPHA / LOOKS)


def _below(found: MedianInterval, limit: float) -> Verdict:
    if found.high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if found.low > limit else Verdict.INCONCLUSIVE


def _ms(found: MedianInterval) -> str:
    return f"{found.median:.1f} [{found.low:.1f}, {found.high:.1f}] ms"
