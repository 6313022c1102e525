"""Folders of files: each file comes once, whenever it came and however old it says it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.sources.batches import Delivery
from seamline.data.sources.opening import open_source


class Shelf:
    """A folder, and what comes of it after a watermark."""

    def __init__(self, folder: Path, spools: Path) -> None:
        self._folder, self._spools = folder, spools
        self._declared = DatasetDeclaration("calls", time="at", source=f"file://{folder}")

    def lay(self, name: str, content: str, written_at: int) -> None:
        path = self._folder / name
        path.write_text(content)
        os.utime(path, (written_at, written_at))

    def read(self, since: str | None = None, uri: str | None = None) -> tuple[list[str], Delivery]:
        spool = self._spools / str(len(list(self._spools.iterdir())))
        spool.mkdir()
        delivery = open_source(uri or self.uri(""), self._declared, spool, since=since)
        return [row for batch in delivery.batches() for row in batch["id"].to_list()], delivery

    def uri(self, name: str) -> str:
        return f"file://{self._folder}/{name}"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    for name in ("in", "spools"):
        (tmp_path / name).mkdir()
    return Shelf(tmp_path / "in", tmp_path / "spools")


def test_a_file_that_was_moved_in_with_an_early_time_is_not_passed_over(shelf: Shelf) -> None:
    shelf.lay("b.csv", "id\n1\n", written_at=2_000)
    rows, first = shelf.read()
    assert rows == ["1"]
    shelf.lay("a.csv", "id\n2\n", written_at=1_000)
    rows, second = shelf.read(since=first.watermark)
    assert rows == ["2"]
    assert shelf.read(since=second.watermark)[0] == []


def test_nor_one_that_is_named(shelf: Shelf) -> None:
    shelf.lay("b.csv", "id\n1\n", written_at=2_000)
    _, first = shelf.read()
    shelf.lay("a.csv", "id\n2\n", written_at=1_000)
    rows, named = shelf.read(since=first.watermark, uri=shelf.uri("a.csv"))
    assert rows == ["2"]
    assert shelf.read(since=named.watermark)[0] == []


def test_files_that_are_gone_are_forgotten(shelf: Shelf, tmp_path: Path) -> None:
    for n in range(50):
        shelf.lay(f"{n}.csv", f"id\n{n}\n", written_at=1_000 + n)
    _, first = shelf.read()
    for n in range(49):
        (tmp_path / "in" / f"{n}.csv").unlink()
    shelf.lay("new.csv", "id\nnew\n", written_at=9_000)
    rows, second = shelf.read(since=first.watermark)
    assert rows == ["new"]
    assert len(second.watermark or "") < len(first.watermark or "") / 10


def test_a_file_that_was_written_over_comes_again(shelf: Shelf) -> None:
    shelf.lay("a.csv", "id\n1\n", written_at=1_000)
    _, first = shelf.read()
    shelf.lay("a.csv", "id\n2\n", written_at=1_001)
    assert shelf.read(since=first.watermark)[0] == ["2"]
