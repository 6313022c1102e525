"""What one does at a time, over threads and processes: locks of the kernel's, let go at death."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(root: Path, name: str) -> Iterator[None]:
    """The others wait. `root`: of the workspace; `name`: of a file in its `locks`."""
    folder = root / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
