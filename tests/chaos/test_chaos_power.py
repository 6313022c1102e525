"""A power cut at any moment of an ingest: of what was not flushed, names and bytes are gone.

The disk is seen at its worst, in both ways: a file that was never flushed is empty, and its name is
gone where its folder was not flushed, or is there all the same. (SQLite flushes on its own; its
files are taken as they are.) Not played: a disk that forgets what it was told to flush.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
import pytest

from seamline.data.contracts.quarantine import quarantine_folder, read_quarantine
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.recovery import finish_all_pending
from seamline.data.versions import (
    list_datasets,
    list_versions,
    read_version,
    table_folder,
    version_profile,
)
from seamline.domain.clock import SystemClock
from seamline.measure.contracts import Policy
from seamline.store.facts import verify_chain
from seamline.store.stores import Stores, open_stores

READINGS = DatasetDeclaration("readings", time="at", on_breach=Policy.QUARANTINE)
#: Id, day; the third delivery has a row that is set aside.
DELIVERIES = (
    "1,2026-01-01\n2,2026-01-02\n",
    "3,2026-01-02\n4,2026-01-03\n",
    "5,2026-01-03\nsix,2026-01-03\n",
    "7,2026-01-04\neight,2026-01-03\n",
)


@dataclass
class Disk:
    """What `root` holds, and what of it would survive. `cuts`: images of it, two for each moment
    before something becomes durable: without and with the names that were not flushed."""

    root: Path
    images: Path
    flushed: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    cuts: list[Path] = field(default_factory=list)

    def settle(self) -> None:
        """All that is there now has been flushed."""
        for path in [self.root, *self.root.rglob("*")]:
            self.flush(path)

    def flush(self, path: Path) -> None:
        number = path.stat().st_ino
        if path.is_dir():
            self.names[number] = {one.name: one.stat().st_ino for one in path.iterdir()}
        else:
            self.flushed[number] = path.read_bytes()

    def cut(self) -> None:
        for has_names in (False, True):
            image = self.images / f"{len(self.cuts):03}"
            self._image_of(self.root, image, has_names)
            self.cuts.append(image)

    def _image_of(self, folder: Path, image: Path, has_names: bool) -> None:
        image.mkdir(parents=True)
        known = self.names.get(folder.stat().st_ino, {})
        for path in folder.iterdir():
            is_database = path.name.startswith("seamline.db")
            number = path.stat().st_ino
            if known.get(path.name) != number and not (is_database or has_names):
                continue
            if path.is_dir():
                self._image_of(path, image / path.name, has_names)
            elif is_database:
                shutil.copyfile(path, image / path.name)
            else:
                (image / path.name).write_bytes(self.flushed.get(number, b""))

    @contextmanager
    def watching(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        flush = os.fsync

        def watched(number: int) -> None:
            path = Path(f"/proc/self/fd/{number}").readlink()
            if not path.is_relative_to(self.root.resolve()):
                flush(number)  # of whatever else runs in this process
                return
            self.cut()
            flush(number)
            self.flush(path)

        stores.db.on_commit(self.cut)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", watched)
            # One by one: an image is taken while nothing else happens.
            patched.setattr("seamline.store.durable._AT_ONCE", 1)
            yield
        self.cut()


def deliver(stores: Stores, folder: Path, number: int, mode: Mode) -> None:
    path = folder / f"{number}.csv"
    path.write_text(f"id,at\n{DELIVERIES[number]}")
    ingest(stores, replace(READINGS, mode=mode), path, source=path.name, by="ada")


def rows_of(stores: Stores) -> list[list[int]]:
    """Of each version; it also has a profile."""
    versions = list_versions(stores, "readings") if has_versions(stores) else []
    assert all(version_profile(stores, one).rows == one.rows for one in versions)
    return [sorted(read_version(stores, one)["id"]) for one in versions]


def has_versions(stores: Stores) -> bool:
    return bool(list_datasets(stores))


@pytest.mark.parametrize(
    ("before", "mode"),
    [(0, Mode.APPEND), (2, Mode.APPEND), (1, Mode.REPLACE), (3, Mode.REPLACE)],
)
def test_a_power_cut_loses_nothing_that_was_taken_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, mode: Mode
) -> None:
    stores = open_stores(tmp_path / "workspace", SystemClock())
    for number in range(before):
        deliver(stores, tmp_path, number, mode)
    older = rows_of(stores)
    disk = Disk(stores.root, tmp_path / "images")
    disk.settle()
    with disk.watching(stores, monkeypatch):
        deliver(stores, tmp_path, before, mode)
    newer = rows_of(stores)
    stores.db.close()
    assert len(disk.cuts) > 10

    for place, image in enumerate(disk.cuts):
        found = open_stores(image, SystemClock())
        finish_all_pending(found)
        rows = rows_of(found)
        assert rows in (older, newer), f"cut {place} of {len(disk.cuts)}"
        if place >= len(disk.cuts) - 2:
            assert rows == newer, "what was answered is lost"
        deliver(found, tmp_path, before, mode)
        assert rows_of(found) == newer, f"cut {place} of {len(disk.cuts)}"
        versions = list_versions(found, "readings")
        assert pl.read_delta(str(table_folder(found, "readings"))).height == versions[-1].rows
        aside = [len(read_quarantine(found, one)) for one in versions]
        assert aside == [one.rows_quarantined for one in versions]
        if any(aside):
            side = pl.read_delta(str(quarantine_folder(found, "readings")))
            assert side.height == sum(aside)
        with found.db.read() as connection:
            assert verify_chain(connection).broken is None
        found.db.close()
        shutil.rmtree(image)
