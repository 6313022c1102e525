"""What two releases do not have in common: by kind and name, with version and digest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from seamline.promote.release import Pin, Release


@dataclass(frozen=True)
class PinChange:
    """One name in two releases: gone where `after` is None, new where `before` is."""

    kind: str
    name: str
    before: Pin | None
    after: Pin | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def changes_between(before: Release, after: Release) -> tuple[PinChange, ...]:
    """In the order of kinds, then names. Pins of one name are told apart by their digests.

    >>> old = Release(packages=(Pin("m", "1", "sha256:" + "0" * 64),))
    >>> new = Release(packages=(Pin("m", "2", "sha256:" + "1" * 64),))
    >>> [(one.before.version, one.after.version) for one in changes_between(old, new)]
    [('1', '2')]
    >>> changes_between(old, old)
    ()
    """
    found: list[PinChange] = []
    new = after.pins()
    for kind, pins in before.pins().items():
        gone = sorted(set(pins) - set(new[kind]))
        come = sorted(set(new[kind]) - set(pins))
        for name in sorted({pin.name for pin in (*gone, *come)}):
            old_ones = [pin for pin in gone if pin.name == name]
            new_ones = [pin for pin in come if pin.name == name]
            pairs = zip_longest(old_ones, new_ones)
            found += [PinChange(kind, name, old, new) for old, new in pairs]
    return tuple(found)
