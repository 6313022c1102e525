"""What a tag of a version can be called, and which tags never move."""

from __future__ import annotations

import re

from seamline.domain.errors import InvalidInput

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_IMMUTABLE_TAG = re.compile(r"\d+\.\d+\.\d+")


def is_immutable_tag(tag: str) -> bool:
    """
    >>> is_immutable_tag("1.0.0"), is_immutable_tag("latest"), is_immutable_tag("1.0")
    (True, False, False)
    """
    return bool(_IMMUTABLE_TAG.fullmatch(tag))


def is_tag(text: str) -> bool:
    """Whether a tag can be called so.

    >>> is_tag("v1.2"), is_tag("second try")
    (True, False)
    """
    return bool(_TAG.fullmatch(text))


def check_tag(tag: str) -> None:
    if not is_tag(tag):
        raise InvalidInput(
            f"{tag!r} cannot be a tag.",
            next_step="Use letters, digits and . _ - (at most 128), beginning with no . or -",
        )
