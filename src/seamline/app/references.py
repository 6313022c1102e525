"""NAME@VERSION, as people write it."""

from __future__ import annotations


def split_reference(reference: str) -> tuple[str, str | None]:
    """
    >>> split_reference("air-time@1.0.1"), split_reference("air-time")
    (('air-time', '1.0.1'), ('air-time', None))
    """
    name, _, version = reference.partition("@")
    return name, version or None
