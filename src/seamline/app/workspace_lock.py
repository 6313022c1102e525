"""One server per workspace: an exclusive lock on `server.lock`, let go by the kernel at death."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seamline.domain.errors import Conflict, Refused
from seamline.runtime.server_file import FILE_NAME, read_server_file


@contextmanager
def hold_workspace(workspace: Path) -> Iterator[None]:
    """Raises Conflict when another process serves it, Refused when it cannot be written."""
    try:
        workspace.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(workspace / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise Refused(
            f"The workspace {workspace} cannot be written: {error.strerror}.",
            next_step="Choose another folder with --workspace, or ask for write access.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"{_holder(workspace)} already serves the workspace {workspace}.",
                next_step="Use it as it is, stop it with seamline down, or choose another folder.",
            ) from None
        yield
    finally:
        (workspace / FILE_NAME).unlink(missing_ok=True) if _held(descriptor) else None
        os.close(descriptor)


def _held(descriptor: int) -> bool:
    """Whether this descriptor holds the lock (asking again for what one has succeeds)."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _holder(workspace: Path) -> str:
    found = read_server_file(workspace)
    return f"The server at {found.url} (pid {found.identity.pid})" if found else "Another process"
