"""A task's log: what comes from a pipe, up to a bound. Standard library only."""

from __future__ import annotations

import os

_CHUNK_BYTES = 65536
_FULL = b"\n[seamline: the log is full; what follows is not kept, the task goes on]\n"


class TaskLog:
    """The pipe lasts as long as the process that writes to it; each of its tasks has a file."""

    def __init__(self, pipe_fd: int) -> None:
        self.pipe_fd = pipe_fd
        self._file_fd: int | None = None
        self._room_bytes = 0
        self._is_full = False

    def open(self, path: str, limit_bytes: int) -> None:
        """Also where its folder is still to be made."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            self._file_fd = os.open(path, flags, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
            self._file_fd = os.open(path, flags, 0o644)
        self._room_bytes = limit_bytes
        self._is_full = False

    def pump(self) -> str:
        """Moves one chunk from the pipe to the log: "moved", "empty" for now, or "closed"."""
        try:
            chunk = os.read(self.pipe_fd, _CHUNK_BYTES)
        except BlockingIOError:
            return "empty"
        if not chunk:
            return "closed"
        if self._is_full or self._file_fd is None:
            return "moved"
        kept = chunk[: self._room_bytes]
        self._room_bytes -= len(kept)
        if len(kept) < len(chunk):
            self._is_full = True
            kept += _FULL
        try:
            os.write(self._file_fd, kept)
        except OSError:  # A full disk must not take the zygote with it.
            self._is_full = True
        return "moved"

    def finish(self) -> bool:
        """The task is over: takes what the pipe still holds. Whether the log had been full."""
        # A pipe holds 64 KiB; the bound is for a writer that detached itself and goes on.
        for _ in range(64):
            if self.pump() != "moved":
                break
        if self._file_fd is not None:
            os.close(self._file_fd)
            self._file_fd = None
        return self._is_full

    def close_all(self) -> None:
        for fd in (self.pipe_fd, self._file_fd):
            if fd is not None:
                os.close(fd)
