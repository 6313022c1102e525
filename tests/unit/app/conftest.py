"""A control plane that nothing drives but the test: no thread, no port, no data plane."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert

from seamline.domain.clock import ManualClock
from seamline.domain.settings import Settings
from seamline.server import ControlPlane, build_control_plane


@pytest.fixture
def plane(tmp_path: Path, clock: ManualClock) -> Iterator[ControlPlane]:
    made = build_control_plane(Settings(workspace=tmp_path / "workspace"), clock)
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()


@pytest.fixture
def put_row(plane: ControlPlane) -> Callable[..., None]:
    """A row, with something in every column that needs a value."""
    kinds = {str: "", int: 0, float: 0.0, bool: True}

    def put(table: Table, **values: Any) -> None:
        needed = {
            column.name: kinds[column.type.python_type]
            for column in table.c
            if not column.nullable and column.name not in values
        }
        with plane.platform.stores.db.transaction() as tx:
            tx.execute(insert(table).values({**needed, **values}))

    return put
