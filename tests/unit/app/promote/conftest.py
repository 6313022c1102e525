"""The control plane that nothing drives but the test, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.settings import Settings
from seamline.server import ControlPlane, build_control_plane


@pytest.fixture(params=["sqlite", "postgresql"])
def plane(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock
) -> Iterator[ControlPlane]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    made = build_control_plane(Settings(workspace=tmp_path / "workspace", database_url=url), clock)
    yield made
    made.platform.engine.close()
    made.platform.runner.close()
    made.platform.stores.db.close()
