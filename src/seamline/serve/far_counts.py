"""What data planes elsewhere have answered, refusals among it, as they told it last.

A plane counts from 0 whenever its process begins, and tells the whole count of that life each time:
so what is told again, or never arrives, changes nothing. What earlier lives came to is kept beside.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from seamline.domain.errors import InvalidInput
from seamline.store.blobs import write_atomically

_FOLDER = "serving-elsewhere"
_PLANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
#: Lives that are over, of which something may still be told.
_PAST = 50
_MOST_ENDPOINTS = 10_000

#: Endpoint → status → requests.
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Told:
    """`life`: of the process that counts; `counts`: since it began."""

    host: str
    life: str
    counts: Counts


@dataclass(frozen=True)
class Kept:
    host: str
    life: str
    told_at: str
    counts: Counts = field(default_factory=dict)
    #: Of the lives before, together, and what they were called.
    ended: Counts = field(default_factory=dict)
    past: tuple[str, ...] = ()

    @property
    def total(self) -> Counts:
        return _merged(self.ended, self.counts, is_sum=True)


def keep_counts(root: Path, environment: str, plane: str, told: Told, at: str) -> None:
    """InvalidInput for what is no count."""
    _check(plane, told)
    before = _read(_path(root, environment, plane))
    kept = Kept(told.host, told.life, at, told.counts)
    if before is not None:
        if told.life in before.past:
            return
        if told.life == before.life:  # whichever arrives last: a count never falls
            counts = _merged(before.counts, told.counts, is_sum=False)
            kept = Kept(told.host, told.life, at, counts, before.ended, before.past)
        else:
            past = (*before.past, before.life)[-_PAST:]
            kept = Kept(told.host, told.life, at, told.counts, before.total, past)
    path = _path(root, environment, plane)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(kept)).encode())


def read_counts(root: Path, environment: str) -> list[Kept]:
    """Of each plane that has told any, by name."""
    found = map(_read, sorted((root / _FOLDER / environment).glob("[!.]*.json")))
    return sorted((one for one in found if one is not None), key=lambda one: one.host)


def _path(root: Path, environment: str, plane: str) -> Path:
    return root / _FOLDER / environment / f"{plane}.json"


def _read(path: Path) -> Kept | None:
    """A file that cannot be read is begun anew."""
    try:
        document = json.loads(path.read_bytes())
        return Kept(**{**document, "past": tuple(document["past"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _check(plane: str, told: Told) -> None:
    if not _PLANE.fullmatch(plane):
        raise InvalidInput(
            f"{plane!r} cannot be the name of a data plane.",
            next_step="Letters, digits, '.', '_' and '-', 200 at the most.",
        )
    if len(told.counts) > _MOST_ENDPOINTS or not 0 < len(told.life) <= 200 or len(told.host) > 255:
        raise InvalidInput(
            f"What data plane {plane} tells is too long, or too short, for counts.",
            next_step=f"At most {_MOST_ENDPOINTS:,} endpoints; a life of 1 to 200 characters, a "
            "host of 255 at the most.",
        )
    for endpoint, by_status in told.counts.items():
        for status, count in by_status.items():
            if not re.fullmatch(r"[1-5]\d\d", status) or count < 0:
                raise InvalidInput(
                    f"Data plane {plane} tells of {count} requests to {endpoint!r} with status "
                    f"{status!r}.",
                    next_step="Counts are not negative, and by three digits of HTTP.",
                )


def _merged(one: Counts, other: Counts, *, is_sum: bool) -> Counts:
    """
    >>> _merged({"a": {"200": 2}}, {"a": {"200": 3, "400": 1}}, is_sum=True)
    {'a': {'200': 5, '400': 1}}
    >>> _merged({"a": {"200": 2}}, {"a": {"200": 3}}, is_sum=False)
    {'a': {'200': 3}}
    """
    found: dict[str, dict[str, int]] = {}
    for endpoint in {**one, **other}:
        mine, its = one.get(endpoint, {}), other.get(endpoint, {})
        found[endpoint] = {
            status: sum(pair) if is_sum else max(pair)
            for status in sorted({*mine, *its})
            for pair in [(mine.get(status, 0), its.get(status, 0))]
        }
    return found
