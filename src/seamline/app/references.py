"""NAME@VERSION or NAME==VERSION, as people write it."""

from __future__ import annotations


def split_reference(reference: str) -> tuple[str, str | None]:
    """
    >>> split_reference("air-time@1.0.1"), split_reference("air-time")
    (('air-time', '1.0.1'), ('air-time', None))
    >>> split_reference("air-time==1.0.1")
    ('air-time', '1.0.1')
    """
    name, _, version = reference.partition("==" if "==" in reference else "@")
    return name.strip(), version.strip() or None
