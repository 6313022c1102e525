"""Which version a version follows, and whether it may break the users of that one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")

Version = tuple[int, int, int]


def parse_version(tag: str) -> Version | None:
    """None for a tag that is no x.y.z.

    >>> parse_version("1.10.0"), parse_version("latest"), parse_version("1.0")
    ((1, 10, 0), None, None)
    """
    found = _VERSION.fullmatch(tag)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def versions_first(tags: Iterable[str]) -> list[str]:
    """x.y.z before what moves, the highest first; the others stay in their order.

    >>> versions_first(["latest", "1.9.0", "1.10.0", "dev"])
    ['1.10.0', '1.9.0', 'latest', 'dev']
    """
    named = {tag: parse_version(tag) for tag in tags}
    versions = sorted((tag for tag in named if named[tag]), key=lambda tag: named[tag] or (0, 0, 0))
    return [*reversed(versions), *(tag for tag in named if not named[tag])]


def decide_followed(tag: str, tags: Collection[str]) -> str | None:
    """The highest lower x.y.z tag: 1.0.1 follows 1.0.0, even when 2.0.0 is there already.

    >>> decide_followed("1.10.0", ["1.9.0", "1.2.0", "2.0.0", "latest"])
    '1.9.0'
    >>> decide_followed("1.0.0", ["latest", "1.0.0"])
    """
    here = parse_version(tag)
    lower = [
        (version, other)
        for other in tags
        if (version := parse_version(other)) and here and version < here
    ]
    return max(lower)[1] if lower else None


def may_break(before: str, after: str) -> bool:
    """Semantic versioning: a new major version may; below 1.0.0, a new minor version may, too.

    >>> may_break("1.4.0", "2.0.0"), may_break("1.4.0", "1.5.0")
    (True, False)
    >>> may_break("0.4.1", "0.5.0"), may_break("0.4.1", "0.4.2")
    (True, False)
    """
    return _line(before) != _line(after)


def next_breaking(tag: str) -> str:
    """The first version in which users of this one have to expect breaks.

    >>> next_breaking("1.4.2"), next_breaking("0.4.2")
    ('2.0.0', '0.5.0')
    """
    major, minor, _ = parse_version(tag) or (0, 0, 0)
    return f"{major + 1}.0.0" if major else f"0.{minor + 1}.0"


def _line(tag: str) -> tuple[int, int]:
    """Versions of one line promise the same interface."""
    major, minor, _ = parse_version(tag) or (0, 0, 0)
    return (major, 0) if major else (0, minor)
