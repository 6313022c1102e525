"""Many scenarios on one page: counts, bars, and which of them are shown in which order. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.domain.states import TaskState
from seamline.train.views.following import say_item

#: What needs attention comes first; in bars and legends, too.
ORDER = tuple(
    state.value
    for state in (
        TaskState.FAILED,
        TaskState.UPSTREAM_FAILED,
        TaskState.CANCELED,
        TaskState.RUNNING,
        TaskState.PENDING,
        TaskState.SUCCEEDED,
        TaskState.SKIPPED,
        TaskState.NOT_TRIGGERED,
    )
)
#: States in which nothing is left to do, and nothing went wrong.
DONE = (TaskState.SUCCEEDED, TaskState.SKIPPED, TaskState.NOT_TRIGGERED)
_LOOP_WORDS = {
    TaskState.UPSTREAM_FAILED.value: "not run",
    TaskState.NOT_TRIGGERED.value: "skipped by a condition",
    TaskState.PENDING.value: "waiting",
}
_INDEX = re.compile(r"\[\d+\]")
#: More fields than this do not fit beside the steps.
MAX_FIELDS = 6
MAX_STEPS = 12
PER_PAGE = 200


@dataclass(frozen=True)
class Segment:
    """A part of a bar, in pixels."""

    state: str
    x: float
    width: float


def tally(states: Iterable[str]) -> dict[str, int]:
    """How many there are of each, in the order of attention.

    >>> tally(["succeeded", "failed", "succeeded"])
    {'failed': 1, 'succeeded': 2}
    """
    counts = Counter(states)
    return {state: counts[state] for state in ORDER if counts[state]}


def say_iteration(state: str) -> str:
    """
    >>> say_iteration("not_triggered"), say_iteration("failed")
    ('skipped by a condition', 'failed')
    """
    return _LOOP_WORDS.get(state, "cached" if state == TaskState.SKIPPED else state)


def say_progress(counts: Mapping[str, int]) -> str:
    """
    >>> say_progress({"failed": 1, "running": 1, "succeeded": 315, "not_triggered": 122})
    '437 of 439 done · 1 failed · 1 running · 122 skipped by a condition'
    """
    done, total = sum(counts.get(state, 0) for state in DONE), sum(counts.values())
    parts = [f"{done:,} of {total:,} done"]
    parts += [
        f"{counts[state]:,} {say_iteration(state)}"
        for state in ORDER
        if counts.get(state) and state != TaskState.SUCCEEDED
    ]
    return " · ".join(parts)


def say_brief_progress(counts: Mapping[str, int]) -> str:
    """What fits into a box of a picture: how far it is, and what needs a look.

    >>> say_brief_progress({"failed": 1, "running": 1, "succeeded": 315, "not_triggered": 122})
    '437 of 439 · 1 failed'
    """
    done, *others = say_progress(counts).split(" · ")
    urgent = [one for one in others if one.endswith((" failed", " running"))][:1]
    return " · ".join([done.removesuffix(" done"), *urgent])


def segments(counts: Mapping[str, int], width: float, least: float = 3.0) -> list[Segment]:
    """A bar whose parts are as long as their counts, and none too short to be seen.

    >>> [(one.state, one.x, one.width) for one in segments({"failed": 1, "succeeded": 999}, 100)]
    [('failed', 0.0, 3.0), ('succeeded', 3.0, 97.0)]
    """
    total = sum(counts.values())
    shares = {state: width * counts[state] / total for state in ORDER if counts.get(state)}
    missing = sum(max(0.0, least - share) for share in shares.values())
    spare = sum(share - least for share in shares.values() if share > least)
    shrink = min(1.0, missing / spare) if spare else 0.0
    found, x = [], 0.0
    for state, share in shares.items():
        wide = least if share <= least else share - (share - least) * shrink
        found.append(Segment(state, round(x, 1), round(wide, 1)))
        x += wide
    return found


def group_failures(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Failures of the same step that say the same, together; the first first.

    >>> found = [{"name": f"loop[{i}]/fit", "sentence": "no rows", "item": i} for i in range(2)]
    >>> [(one["step"], len(one["failures"])) for one in group_failures(found)]
    [('loop/fit', 2)]
    """
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in found:
        groups.setdefault((_INDEX.sub("", one["name"]), one["sentence"]), []).append(one)
    return [
        {"step": step, "sentence": sentence, "failures": failures}
        for (step, sentence), failures in groups.items()
    ]


def fields_of(items: Sequence[Any]) -> list[str]:
    """What the items differ in, as columns of a table; none where they are no objects.

    >>> fields_of([{"origin": "JFK", "days": 3}, {"origin": "LGA", "days": 4}]), fields_of([1])
    (['origin', 'days'], [])
    """
    objects = [item for item in items if isinstance(item, dict)]
    if len(objects) < len(items) or not items:
        return []
    names = dict.fromkeys(name for item in objects for name in item)
    return list(names) if len(names) <= MAX_FIELDS else []


def label_steps(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Path → what people call it, where that tells it from the others.

    >>> names = {"a/for-loop-2": "by depth", "a/fit": "fit", "b/fit": "fit"}
    >>> label_steps([{"name": name, "display_name": shown} for name, shown in names.items()])
    {'a/for-loop-2': 'by depth', 'a/fit': 'a/fit', 'b/fit': 'b/fit'}
    """
    named = Counter(one["display_name"] for one in steps)
    short = short_names([one["name"] for one in steps])
    return {
        one["name"]: one["display_name"] if named[one["display_name"]] == 1 else short[one["name"]]
        for one in steps
    }


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Each path's last word, or as many as tell it from the others.

    >>> short_names(["one/train/fit", "one/fit", "two/fit", "load"])
    {'one/train/fit': 'train/fit', 'one/fit': 'one/fit', 'two/fit': 'two/fit', 'load': 'load'}
    """
    short: dict[str, str] = {}
    for path in paths:
        words = path.split("/")
        for count in range(1, len(words) + 1):
            ending = "/".join(words[-count:])
            clash = any(one != path and f"/{one}".endswith(f"/{ending}") for one in paths)
            if not clash or count == len(words):
                short[path] = ending
                break
    return short


def pick(
    iterations: Sequence[Mapping[str, Any]], state: str | None, text: str
) -> list[Mapping[str, Any]]:
    """Those in this state whose item holds all of the text's words; trouble first.

    >>> found = [{"index": 0, "outcome": "succeeded", "item": {"to": "LAX"}},
    ...          {"index": 1, "outcome": "failed", "item": {"to": "BOS"}}]
    >>> [one["index"] for one in pick(found, None, "")]
    [1, 0]
    >>> [one["index"] for one in pick(found, None, "lax")]
    [0]
    """
    words = text.lower().split()
    rank = {one: place for place, one in enumerate(ORDER)}
    kept = [
        one
        for one in iterations
        if state in (None, one["outcome"]) and (not words or _holds(one, words))
    ]
    return sorted(kept, key=lambda one: (rank[one["outcome"]], one["index"]))


def _holds(iteration: Mapping[str, Any], words: Sequence[str]) -> bool:
    item = iteration["item"]
    text = f"{say_item(item)} {json.dumps(item, ensure_ascii=False)}".lower()
    return all(word in text for word in words) or words == [str(iteration["index"])]
