"""Durations as people write them: 30s, 15m, 24h, 7d."""

from __future__ import annotations

import re

from seamline.domain.errors import InvalidInput

_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_duration_s(text: str) -> float:
    """
    >>> parse_duration_s("24h"), parse_duration_s("0s")
    (86400.0, 0.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", text.strip())
    if match is None:
        raise InvalidInput(
            f"{text!r} is not a duration.", next_step="Write a number and s, m, h or d: 24h."
        )
    return float(match[1]) * _UNIT_S[match[2]]
