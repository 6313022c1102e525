"""What a killed writer left of one dataset is no matter of the others."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seamline.data import commit
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.recovery import finish_all_pending
from seamline.data.versions import find_version, list_versions, read_version, table_folder
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, MachineryError
from seamline.store.stores import Stores, open_stores

Deliver = Callable[[str], Path]
FIRST, SECOND = "1 2013-01-01T12:00:00Z 3.5", "2 2013-01-02T12:00:00Z 0.5"


def test_a_table_that_cannot_be_read_holds_up_its_own_dataset_alone(
    stores: Stores,
    calls: DatasetDeclaration,
    deliver: Deliver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    both = [replace(calls, name=name) for name in ("broken", "sound")]
    for one in both:
        ingest(stores, one, deliver(FIRST), source="a", by="ada")

    def killed(stores: Stores, intent: commit.Intent) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(commit, "record_version", killed)
        for one in both:
            with pytest.raises(KeyboardInterrupt):
                ingest(stores, one, deliver(SECOND), source="b", by="ada")
    first = table_folder(stores, "broken") / "_delta_log" / f"{0:020}.json"
    first.write_bytes(first.read_bytes()[:100])

    finished = finish_all_pending(stores)
    assert [version.reference for version in finished] == ["sound@2"]
    assert "cut off in dataset broken cannot be finished" in caplog.text
    with pytest.raises(MachineryError, match="The table broken cannot be read"):
        ingest(stores, both[0], deliver(SECOND), source="b", by="ada")
    assert read_version(stores, find_version(stores, "broken@1"))["id"].to_list() == [1]


def test_a_database_of_yesterday_beside_tables_of_today(
    tmp_path: Path, calls: DatasetDeclaration, deliver: Deliver
) -> None:
    """As restored from two backups: what the database knows reads as it was, and nothing is
    added to a table that is not the one that it knows."""
    root = tmp_path / "workspace"
    for lines in (FIRST, SECOND):
        stores = open_stores(root, ManualClock())
        ingest(stores, calls, deliver(lines), source="a", by="ada")
        stores.db.close()
        if lines == FIRST:
            shutil.copyfile(root / "seamline.db", tmp_path / "yesterday.db")
    for path in root.glob("seamline.db*"):
        path.unlink()
    shutil.copyfile(tmp_path / "yesterday.db", root / "seamline.db")
    stores = open_stores(root, ManualClock())
    assert finish_all_pending(stores) == []
    assert read_version(stores, find_version(stores, "calls@1"))["id"].to_list() == [1]
    for lines in (SECOND, "3 2013-01-03T12:00:00Z 0.5"):
        with pytest.raises(Conflict, match="is at Delta version 1; 0 was the last one") as told:
            ingest(stores, calls, deliver(lines), source="a", by="ada")
        assert "of one moment" in told.value.next_step
    assert len(list_versions(stores, "calls")) == 1
    stores.db.close()
