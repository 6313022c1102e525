"""How warm a release is that stands by: in one process, and in several."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any


class Warmth(StrEnum):
    WARMING = "warming"
    WARM = "warm"
    FAILED = "failed"


def merge_standbys(told: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """As several processes tell of the same standbys: warm is what is so in all of them.

    >>> one = {"release": "r1", "state": "warm", "error": None}
    >>> merge_standbys([[one], [{**one, "state": "warming"}]])[0]["state"]
    'warming'
    >>> merge_standbys([[one], [{**one, "state": "failed", "error": "no room"}]])[0]["error"]
    'no room'
    >>> merge_standbys([[one], []])[0]["state"]
    'warming'
    """
    by_release: dict[str, list[dict[str, Any]]] = {}
    for standbys in told:
        for one in standbys:
            by_release.setdefault(one["release"], []).append(one)
    return [_merged(found, is_everywhere=len(found) == len(told)) for found in by_release.values()]


def _merged(found: Sequence[dict[str, Any]], *, is_everywhere: bool) -> dict[str, Any]:
    states = {one["state"] for one in found}
    if Warmth.FAILED in states:
        state = Warmth.FAILED
    elif Warmth.WARMING in states or not is_everywhere:
        state = Warmth.WARMING
    else:
        state = Warmth.WARM
    errors = dict.fromkeys(one["error"] for one in found if one["error"])
    return {**found[0], "state": state.value, "error": " ".join(errors) or None}
