"""Values as people read them: filters of the templates."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from seamline.console.grid import say_brief_progress, say_iteration, say_progress, segments
from seamline.domain.clock import from_iso
from seamline.domain.digests import short
from seamline.evaluate.pictures import windows_of
from seamline.evaluate.wording import say_value
from seamline.measure.evaluation.estimates import Estimate
from seamline.train.views.following import say_item

_UNITS = ((86_400 * 365, "y"), (86_400, "d"), (3_600, "h"), (60, "min"))
_SIZES = ((1e3, "kB"), (1e6, "MB"), (1e9, "GB"))
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d):\d\d\.\d{6}Z")
LONG_VALUE = 120
#: Larger numbers are written with an exponent.
_MOST_DIGITS = 1e15

#: state → (tone, shape): never colour alone.
_LOOKS = {
    "succeeded": ("good", "check"),
    "pass": ("good", "check"),
    "live": ("good", "check"),
    "up": ("good", "check"),
    "ready": ("good", "check"),
    "warm": ("good", "check"),
    "skipped": ("good", "skip"),
    "failed": ("bad", "cross"),
    "fail": ("bad", "cross"),
    "rejected": ("bad", "cross"),
    "down": ("bad", "cross"),
    "errored": ("bad", "alert"),
    "error": ("bad", "alert"),
    "partially_failed": ("warn", "alert"),
    "inconclusive": ("warn", "question"),
    "awaiting_approval": ("warn", "person"),
    "rolled_back": ("warn", "back"),
    "running": ("busy", "running"),
    "checking": ("busy", "running"),
    "applying": ("busy", "running"),
    "verifying": ("busy", "running"),
    "moving": ("busy", "running"),
    "warming": ("busy", "running"),
    "restarting": ("warn", "alert"),
    "upstream_failed": ("quiet", "blocked"),
    "canceled": ("quiet", "stop"),
    "not_triggered": ("quiet", "dash"),
    "superseded": ("quiet", "dash"),
}


_WORDS = {"skipped": "cached"}


def filters() -> dict[str, Callable[..., Any]]:
    return {
        "short": short,
        "words": say_words,
        "tone": tone_of,
        "shape": shape_of,
        "span": say_span,
        "latency": say_latency,
        "ago": say_ago,
        "moment": say_moment,
        "times": say_times,
        "size": say_size,
        "estimate": say_estimate,
        "difference": say_difference,
        "policy": say_policy,
        "demands": say_demands,
        "value": say_plainly,
        "number": say_number,
        "group_of": group_of,
        "leaf_of": leaf_of,
        "took": say_took,
        "edge_pair": edge_pair,
        "named": by_name,
        "title": title_of,
        "ending": say_ending,
        "loop_of": loop_of,
        "item": say_item,
        "iteration": say_iteration,
        "progress": say_progress,
        "brief_progress": say_brief_progress,
        "segments": segments,
        "plural": say_plural,
        "windows_of": windows_of,
    }


def say_words(name: str) -> str:
    """
    >>> say_words("awaiting_approval"), say_words("skipped")
    ('awaiting approval', 'cached')
    """
    return _WORDS.get(name, name.replace("_", " "))


def tone_of(state: str) -> str:
    """
    >>> tone_of("failed"), shape_of("failed"), shape_of("pending")
    ('bad', 'cross', 'wait')
    """
    return _LOOKS.get(state, ("quiet", "wait"))[0]


def shape_of(state: str) -> str:
    return _LOOKS.get(state, ("quiet", "wait"))[1]


def say_span(seconds: float) -> str:
    """
    >>> [say_span(s) for s in (0.042, 1.5, 59, 90, 86_400, 100_000)]
    ['42 ms', '1.5 s', '59 s', '1 min 30 s', '1 d', '1 d 3 h']
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit_s, unit in (*_UNITS, (1, "s")):
        count, left = divmod(left, unit_s)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if part)


def say_latency(seconds: float) -> str:
    """
    >>> [say_latency(s) for s in (0.00021, 0.0042, 0.042, 1.5)]
    ['0.21 ms', '4.2 ms', '42 ms', '1.5 s']
    """
    if seconds >= 0.01:
        return say_span(seconds)
    return f"{seconds * 1000:.{1 if seconds >= 0.001 else 2}f} ms"


def say_took(ended: Mapping[str, Any]) -> str:
    """
    >>> say_took({"started_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:05Z"})
    '5.0 s'
    """
    took = from_iso(ended["ended_at"]) - from_iso(ended["started_at"])
    return say_span(max(0.0, took.total_seconds()))


def say_ago(at: str, now: str) -> str:
    """
    >>> say_ago("2026-01-01T00:00:00.000000Z", "2026-01-01T03:10:00.000000Z")
    '3 h ago'
    >>> say_ago("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:02.000000Z")
    'just now'
    """
    seconds = (from_iso(now) - from_iso(at)).total_seconds()
    if abs(seconds) < 10:
        return "just now"
    size, unit = next(((s, u) for s, u in _UNITS if abs(seconds) >= s), (1, "s"))
    count = f"{abs(seconds) // size:.0f} {unit}"
    return f"{count} ago" if seconds > 0 else f"in {count}"


def say_moment(at: str) -> str:
    """
    >>> say_moment("2026-01-02T03:04:05.000000Z")
    '2026-01-02 03:04:05 UTC'
    """
    return from_iso(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def say_times(text: str) -> str:
    """Times within a sentence, to the minute.

    >>> say_times("opens at 2026-01-02T03:04:05.000000Z (mon-thu)")
    'opens at 2026-01-02 03:04 UTC (mon-thu)'
    """
    return _TIME.sub(r"\1 \2 UTC", text)


def say_size(size_bytes: float) -> str:
    """
    >>> say_size(512), say_size(15_300), say_size(2_500_000)
    ('512 B', '15.3 kB', '2.5 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes:.0f} B"
    scaled, unit = next(
        ((size_bytes / scale, unit) for scale, unit in _SIZES if size_bytes < 1000 * scale),
        (size_bytes / 1e9, "GB"),
    )
    return f"{scaled:.1f} {unit}"


def say_estimate(estimate: Mapping[str, Any]) -> str:
    return say_value(Estimate.from_json(estimate))


def say_difference(estimate: Mapping[str, Any]) -> str:
    return say_value(Estimate.from_json(estimate), signed=True)


def say_number(value: float) -> str:
    """
    >>> say_number(26971), say_number(0.71320001), say_number(True)
    ('26,971', '0.7132', 'True')
    >>> say_number(9999.5), say_number(1.7e308), say_number(float("inf"))
    ('10,000', '1.7e+308', 'inf')
    """
    is_long = abs(value) >= _MOST_DIGITS
    if isinstance(value, float) and (is_long or not value.is_integer()):
        return f"{value:,.0f}" if abs(value) >= 1_000 and not is_long else f"{value:,.4g}"
    return str(value) if isinstance(value, bool) else f"{value:,.0f}"


def say_plainly(value: object) -> str:
    """Text as it is, everything else as JSON; long values are cut.

    >>> say_plainly("a"), say_plainly(""), say_plainly([1, 2]), say_plainly(None)
    ('a', '""', '[1, 2]', 'null')
    """
    is_text = isinstance(value, str) and value
    text = str(value) if is_text else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONG_VALUE else text[: LONG_VALUE - 1] + "…"


def say_policy(policy: Mapping[str, Any]) -> str:
    """One line.

    >>> from seamline.promote.policy import DEFAULT_POLICIES
    >>> for policy in DEFAULT_POLICIES:
    ...     print(say_policy(policy.to_json()))
    Releases are made here.
    Straight from dataops, once digests and provenance pass.
    From development, once digests, provenance and evaluation pass; 1 approval by approver or \
admin, not the trainer, author or requester.
    From staging, after 1 d there, once digests, provenance, evaluation, successes and soak pass; \
1 approval by approver or admin, not the trainer, author or requester.
    """
    if policy["after"] is None:
        return "Releases are made here."
    rule = policy["approvals"]
    text = f"{'Straight from' if policy['automatic'] else 'From'} {policy['after']}"
    if policy["soak_s"] > 0:
        text += f", after {say_span(policy['soak_s'])} there"
    gates = [*policy["gates"], *_declared_gates(policy)]
    if gates:
        text += f", once {_series(gates, 'and')} pass"
    if rule["count"]:
        plural = "s" if rule["count"] > 1 else ""
        text += f"; {rule['count']} approval{plural} by {_series(rule['roles'], 'or')}"
        if rule["exclude"]:
            text += f", not the {_series(rule['exclude'], 'or')}"
    if policy.get("windows"):
        text += f"; {_series(policy['windows'], 'or')}"
    return text + "."


def _declared_gates(policy: Mapping[str, Any]) -> list[str]:
    """Checks of the team's own, and what somebody else decides."""
    return [one["name"] for key in ("checks", "external") for one in policy.get(key, ())]


def say_demands(policy: Mapping[str, Any]) -> str:
    """
    >>> from seamline.promote.policy import DEFAULT_POLICIES
    >>> for policy in DEFAULT_POLICIES[1:]:
    ...     print(say_demands(policy.to_json()))
    automatic, 2 gates
    3 gates, 1 approval
    5 gates, 1 approval, 1 d soak
    """
    gates = len(policy["gates"]) + len(_declared_gates(policy))
    approvals = policy["approvals"]["count"]
    parts = [
        "automatic" if policy["automatic"] else "",
        f"{gates} gate{'s' * (gates != 1)}" if gates else "no gates",
        f"{approvals} approval{'s' * (approvals != 1)}" if approvals else "",
        f"{say_span(policy['soak_s'])} soak" if policy["soak_s"] > 0 else "",
    ]
    return ", ".join(part for part in parts if part)


def group_of(name: str) -> str:
    """
    >>> group_of("punctuality/train/fit"), group_of("fit")
    ('punctuality/train', '')
    """
    return name.rpartition("/")[0]


def loop_of(iteration: str) -> str:
    """
    >>> loop_of("a[1]/b[2]")
    'a[1]/b'
    """
    return iteration.rpartition("[")[0]


def leaf_of(name: str) -> str:
    """
    >>> leaf_of("punctuality/train/fit")
    'fit'
    """
    return name.rpartition("/")[2]


def title_of(run: Mapping[str, Any]) -> str:
    """What people call a run: its own name, where it has one, else its pipeline.

    >>> title_of({"id": "1", "display_name": "1", "pipeline": "training"})
    'training'
    """
    named = run["display_name"] not in ("", run["id"])
    return str(run["display_name"] if named else run["pipeline"])


def say_ending(path: str, length: int) -> str:
    """The last words of a path say most: as many as fit.

    >>> say_ending("train-scenario/enough-rows", 14), say_ending("fit", 14)
    ('…/enough-rows', 'fit')
    >>> say_ending("condition-branches-12", 14)
    '…n-branches-12'
    """
    if len(path) <= length:
        return path
    _, _, rest = path.partition("/")
    while rest and len(rest) + 2 > length:
        _, _, rest = rest.partition("/")
    return f"…/{rest}" if rest else f"…{path[-length + 1 :]}"


def say_plural(count: int, noun: str) -> str:
    """
    >>> say_plural(1, "task"), say_plural(1200, "task")
    ('1 task', '1,200 tasks')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"


def edge_pair(edge: Mapping[str, str]) -> tuple[str, str]:
    return edge["from"], edge["to"]


def by_name(items: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {item["name"]: item for item in items}


def _series(items: Any, word: str) -> str:
    *most, last = [str(item) for item in items]
    return f"{', '.join(most)} {word} {last}" if most else last
