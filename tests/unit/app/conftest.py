"""A control plane that nothing drives but the test: no thread, no port, no data plane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
