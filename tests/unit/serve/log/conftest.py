"""A workspace with the system's clock: segments are named by the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seamline.domain.clock import SystemClock
from seamline.store.stores import Stores, open_stores


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_stores(tmp_path, SystemClock())
    yield opened
    opened.db.close()
