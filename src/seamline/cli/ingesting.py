"""The bar of an ingest: bytes while a file is sent, rows while the server reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from seamline.cli.client import Client, Readable
from seamline.cli.progress import Bar, is_watched, progress_bar
from seamline.domain.errors import SeamlineError

_ASKED_EVERY_S = 0.3


@contextmanager
def ingest_bar(client: Client, dataset: str) -> Iterator[Bar]:
    with progress_bar(f"ingesting {dataset}") as bar:
        if not is_watched():
            yield bar
            return
        over = threading.Event()
        following = threading.Thread(target=_follow, args=(client, dataset, bar, over), daemon=True)
        following.start()
        try:
            yield bar
        finally:
            over.set()
            following.join()


def _follow(client: Client, dataset: str, bar: Bar, over: threading.Event) -> None:
    while not over.wait(_ASKED_EVERY_S):
        try:
            at = client.get(f"/datasets/{dataset}/ingesting")
        except SeamlineError:
            return  # whoever waits for the ingest itself is told
        if at is not None:
            unit = "" if at["stage"] == "fetching" else " (rows)"  # bytes of files, rows of queries
            bar.update(at["done"], at["total"], f"{at['stage']} {dataset}{unit}")


def counted(file: IO[bytes], path: Path, size: int, bar: Bar) -> Readable:
    """The file, telling how much of it has been sent."""
    return _Counted(file, path.name, size, bar)


class _Counted:
    """What http.client needs of a file: `read`."""

    def __init__(self, file: IO[bytes], name: str, size: int, bar: Bar) -> None:
        self._file, self._name, self._size, self._bar = file, name, size, bar
        self._sent = 0

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._sent += len(data)
        self._bar.update(self._sent, self._size, f"sending {self._name} (bytes)")
        return data
