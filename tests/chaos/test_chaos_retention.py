"""Retention is killed at any moment; what is needed still reads, and the next time ends it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.recovery import finish_all_pending
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import vacuum_table
from seamline.data.versions import list_versions, read_version, table_folder
from seamline.data.versions.tags import tag_version
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Refused
from seamline.store.facts import verify_chain
from seamline.store.stores import open_stores

#: Ends the process, as kill -9 does, at the n-th time that a file is removed or moved, or a
#: transaction is about to be committed.
KILLED = """
import os, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlalchemy import Connection
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import vacuum_table
from seamline.domain.clock import ManualClock
from seamline.store.stores import open_stores

left = [int(sys.argv[2])]

def counted(does):
    def instead(*given, **named):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)
        return does(*given, **named)
    return instead

now = datetime.now(UTC) + timedelta(days=2)
stores = open_stores(Path(sys.argv[1]), ManualClock(now))
for holder, name in ((Path, "unlink"), (Path, "replace"), (Connection, "commit")):
    setattr(holder, name, counted(getattr(holder, name)))
rule = RetentionDeclaration(keep_versions=1)
vacuum_table(stores, "calls", rule, lambda tx: {}, now, by="ada")
vacuum_table(stores, "calls", rule, lambda tx: {}, now, by="ada")
for blob in stores.blobs.stored():
    if blob.size_bytes == 6:
        stores.blobs.remove_unused(blob.digest, now.timestamp())
"""


@pytest.mark.parametrize("moment", [1, 2, 3, 5, 8])
def test_killed_at_any_moment(tmp_path: Path, moment: int) -> None:
    now = datetime.now(UTC) + timedelta(days=2)
    stores = open_stores(tmp_path / "workspace", ManualClock(now))
    declared = DatasetDeclaration("calls", time="at", mode=Mode.REPLACE)
    for version in range(4):
        path = tmp_path / f"{version}.csv"
        days = "".join(f"{version}{n},2013-01-0{n + 1}T12:00:00Z\n" for n in range(2))
        path.write_text(f"id,at\n{days}")
        made = ingest(stores, declared, path, source="a", by="ada").version
        if version == 1:
            tag_version(stores, made, "golden", by="ada")
    expected = {one.version: read_version(stores, one) for one in list_versions(stores, "calls")}
    stores.blobs.put(b"orphan")
    stores.db.close()

    command = [sys.executable, "-c", KILLED, str(tmp_path / "workspace"), str(moment)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode in (0, 9), ended.stderr

    stores = open_stores(tmp_path / "workspace", ManualClock(now))
    finish_all_pending(stores)
    for one in list_versions(stores, "calls"):
        if one.version in (2, 4):
            assert read_version(stores, one).equals(expected[one.version])
            continue
        with contextlib.suppress(Refused):  # either whole, or gone and known to be
            assert read_version(stores, one).equals(expected[one.version])
    plan = vacuum_table(
        stores, "calls", RetentionDeclaration(keep_versions=1), lambda tx: {}, now, by="ada"
    )
    assert sorted(plan.removable) == [1, 3]
    left = list(table_folder(stores, "calls").glob("ds=*/*.parquet"))
    assert len(left) == 4  # two days of two versions
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None
    stores.db.close()
