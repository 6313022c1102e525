"""A command without a server: what served it is over when it is, however it ends."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from seamline.domain.errors import Refused
from seamline.domain.settings import Settings
from seamline.server import serve_in_process


@pytest.mark.parametrize("end", [None, Refused("no"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_no_thread_outlives_it(tmp_path: Path, end: BaseException | None) -> None:
    """One that does may end the process with a signal when Python is taken down below it."""
    before = set(threading.enumerate())
    try:
        with serve_in_process(Settings(workspace=tmp_path / "workspace", slots=1)) as url:
            with urllib.request.urlopen(f"{url}/api/v1/openapi.json", timeout=60) as response:
                assert response.status == 200
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/api/v1/datasets/none", timeout=60)
            if end is not None:
                raise end
    except (Refused, KeyboardInterrupt, SystemExit) as ended:
        assert ended is end
    left = set(threading.enumerate()) - before
    assert {thread.name for thread in left} == set()
