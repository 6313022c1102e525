"""A data plane that ends unasked is started again, on the port that callers know."""

from __future__ import annotations

import os
import signal

import pytest

from seamline.app.serve.data_plane import find_data_plane, start_or_adopt, stop_data_plane
from seamline.app.serve.keep_plane import PlaneKeeper
from seamline.domain.errors import Conflict


# A plane outlives whoever starts it.
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_killed_plane_is_back_on_its_port_and_a_stopped_one_is_not(tmp_path, wait_until):
    failures = iter([Conflict("not yet")])

    def start(port):
        for error in failures:
            raise error
        return start_or_adopt(tmp_path, "127.0.0.1", port)

    first, _ = start_or_adopt(tmp_path, "127.0.0.1", 0)
    keeper = PlaneKeeper(first, start, look_s=0.01)
    keeper.begin()
    try:
        os.kill(first.identity.pid, signal.SIGKILL)
        wait_until(lambda: keeper.plane.identity != first.identity)
        assert keeper.plane == find_data_plane(tmp_path)
        assert keeper.plane.url == first.url
    finally:
        second = keeper.stop()
        stop_data_plane(second)
    assert second.identity != first.identity
    assert find_data_plane(tmp_path) is None
