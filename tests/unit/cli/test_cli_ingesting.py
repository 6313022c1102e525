from __future__ import annotations

import io
from pathlib import Path

from seamline.cli.client import Client
from seamline.cli.ingesting import counted, ingest_bar


class Bar:
    def __init__(self) -> None:
        self.told: list[tuple[int, int | None, str]] = []

    def update(self, done: int, total: int | None, says: str) -> None:
        self.told.append((done, total, says))


def test_a_file_that_is_sent_tells_how_far_it_is() -> None:
    bar = Bar()
    sent = counted(io.BytesIO(b"id\n1\n2\n"), Path("calls.csv"), 7, bar)
    assert [sent.read(4), sent.read(4), sent.read(4)] == [b"id\n1", b"\n2\n", b""]
    assert bar.told == [
        (4, 7, "sending calls.csv (bytes)"),
        (7, 7, "sending calls.csv (bytes)"),
        (7, 7, "sending calls.csv (bytes)"),
    ]


def test_nobody_is_asked_where_nobody_watches() -> None:
    nowhere = Client("http://127.0.0.1:1", "")
    with ingest_bar(nowhere, "calls") as bar:
        bar.update(1, None, "writing calls (rows)")
