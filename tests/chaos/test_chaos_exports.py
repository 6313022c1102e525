"""kill -9 in the middle of an export: asking again finishes it, and no row is there twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.sources.opening import open_source

SCRIPT = """
import os, signal, sys
from dataclasses import replace
from datetime import date
from pathlib import Path
import polars as pl
from seamline.data.locations import parse_location
from seamline.data.sinks.exports import export_of_frame
from seamline.data.sinks.sending import Form, decide_target, send
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores

folder, uri, form, last, dies_at = Path(sys.argv[1]), sys.argv[2], *sys.argv[3:]
days = pl.Series("ds", [date(2026, 3, one) for one in range(1, int(last) + 1)])
frame = pl.DataFrame({"id": range(1, int(last) + 1)}).with_columns(days)
export = export_of_frame("calls@" + last, frame)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

files = [
    replace(file, load=die) if number == int(dies_at) else file
    for number, file in enumerate(export.files)
]
stores = open_stores(folder / "workspace", SystemClock())
target = decide_target(
    parse_location(uri), Form(form) if form else None, "calls" if uri.startswith("sqlite") else None
)
print(send(stores, replace(export, files=tuple(files)), target, folder, by="ada").is_new)
stores.db.close()
"""


def send(folder: Path, uri: str, form: str, last: int, dies_at: int = -1) -> tuple[int, str]:
    command = [sys.executable, "-c", SCRIPT, str(folder), uri, form, str(last), str(dies_at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


def ids(folder: Path, uri: str) -> list[int]:
    table = "calls" if uri.startswith("sqlite") else None
    declared = DatasetDeclaration("calls", source=uri, table=table, mode=Mode.REPLACE)
    spool = Path(tempfile.mkdtemp(dir=folder))
    delivery = open_source(uri, declared, spool, since=None)
    frame = pl.concat([pl.DataFrame(schema=delivery.schema), *delivery.batches()])
    return sorted(int(one) for one in frame["id"])


@pytest.mark.parametrize(
    ("name", "form"), [("out.csv", ""), ("out", "folder"), ("out", "delta"), ("out.db", "")]
)
def test_an_export_that_was_killed_is_finished_by_the_next(
    name: str, form: str, tmp_path: Path, soak: bool
) -> None:
    scheme = "sqlite" if name.endswith(".db") else "file"
    uri = f"{scheme}://{tmp_path}/{name}"
    assert send(tmp_path, uri, form, 2) == (0, "True")
    # Of a folder, the first two files lie there already: they are not loaded again.
    for dies_at in range(2, 5) if soak else (2, 4):
        assert send(tmp_path, uri, form, 5, dies_at)[0] == -signal.SIGKILL
        if form != "folder":  # where files are seen as they come
            assert ids(tmp_path, uri) == [1, 2]
    assert send(tmp_path, uri, form, 5) == (0, "True")
    assert ids(tmp_path, uri) == [1, 2, 3, 4, 5]
    assert send(tmp_path, uri, form, 5) == (0, "False")
