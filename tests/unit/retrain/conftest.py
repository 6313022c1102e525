"""A workspace, and windows to retrain for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import pytest

from seamline.retrain.triggers import EventWindow


@dataclass(frozen=True)
class Month:
    label: str
    start: date
    end: date


@pytest.fixture(scope="session")
def months() -> dict[int, EventWindow]:
    """The months of 2013, by number."""
    return {
        n: Month(f"2013-{n:02d}", date(2013, n, 1), date(2013 + n // 12, n % 12 + 1, 1))
        for n in range(1, 13)
    }
