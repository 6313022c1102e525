"""Texts without the secrets that were in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MASK = "***"
#: Shorter values are left: masking every "1" would say more than it hides.
MIN_CHARS = 4


def redact(text: str, values: Iterable[str]) -> str:
    """`text` with each of the values masked, as they stand; of those with lines, each line too.

    A value that was encoded (base64, URL, JSON escapes) or cut in two is not found.

    >>> redact("login as ada with hunter22 failed", ["hunter22"])
    'login as ada with *** failed'
    """
    return make_redactor(values)(text)


def make_redactor(values: Iterable[str]) -> Callable[[str], str]:
    """For many texts: line by line, as a log comes."""
    hidden = {part for value in values for part in _parts(value)}
    if not hidden:
        return lambda text: text
    # The longest first: a value that is part of another must not leave the rest of it.
    pattern = re.compile("|".join(map(re.escape, sorted(hidden, key=len, reverse=True))))
    return lambda text: pattern.sub(MASK, text)


def _parts(value: str) -> set[str]:
    """
    >>> sorted(_parts("one line\\nanother\\n"))
    ['another', 'one line', 'one line\\nanother']
    """
    lines = [value, *value.splitlines()]
    return {part for line in lines if len(part := line.strip()) >= MIN_CHARS}
