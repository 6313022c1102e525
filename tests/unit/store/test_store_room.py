"""Errors of a full disk, as the layers below really raise them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from seamline.store.room import MAY_BE_FULL, is_out_of_room

#: No file may grow beyond 64 KB: writing more fails, as it does where a quota ends.
PROGRAM = """
import resource, sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.store.blobs import Blobs
from seamline.store.received import FileReceiver
from seamline.store.room import MAY_BE_FULL, is_out_of_room

root = Path(sys.argv[1])
blobs = Blobs(root / "blobs", SystemClock())
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

def receive():
    receiver = FileReceiver(root / "upload")
    receiver.write(bytes(1 << 20))
    receiver.finish()

for write in (lambda: blobs.put(bytes(1 << 20)), receive):
    try:
        write()
    except MAY_BE_FULL as error:
        print(is_out_of_room(error))
print(sum(path.is_file() for path in (root / "blobs").rglob("*")))
"""


def test_files_and_blobs(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], capture_output=True, text=True, check=False
    )
    assert ran.stdout.split() == ["True", "True", "0"], ran.stderr


def test_rows(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/small.db")
    try:
        with engine.connect() as connection:
            connection.execute(text("PRAGMA max_page_count = 4"))
            connection.execute(text("CREATE TABLE rows (data TEXT)"))
            with pytest.raises(MAY_BE_FULL) as refused:
                connection.execute(text("INSERT INTO rows VALUES (hex(zeroblob(100000)))"))
            assert is_out_of_room(refused.value)
        with engine.connect() as connection, pytest.raises(DBAPIError) as other:
            connection.execute(text("SELECT * FROM nowhere"))
        assert not is_out_of_room(other.value)
    finally:
        engine.dispose()
