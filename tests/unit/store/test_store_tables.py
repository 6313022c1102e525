from __future__ import annotations

from pathlib import Path

import polars as pl

from seamline.store.tables import append_frame, list_files, table_version


def _frame(day: str, rows: int) -> pl.DataFrame:
    return pl.DataFrame({"n": range(rows), "ds": [day] * rows})


def test_versions_hold_exactly_their_files(tmp_path: Path) -> None:
    root = tmp_path / "flights"
    assert table_version(root) is None
    append_frame(root, _frame("2013-01-01", 3), "ds")
    append_frame(root, _frame("2013-01-02", 2), "ds")
    assert [file.partition for file in list_files(root, 0, "ds")] == ["2013-01-01"]
    assert [(file.partition, file.rows) for file in list_files(root, 1, "ds")] == [
        ("2013-01-01", 3),
        ("2013-01-02", 2),
    ]
    assert all(file.path.exists() for file in list_files(root, 1, "ds"))


def test_a_commit_with_a_used_token_is_not_done_again(tmp_path: Path) -> None:
    root = tmp_path / "flights"
    for _ in range(2):
        append_frame(root, _frame("2013-01-01", 3), "ds", token=("delivery 1", 1))
    assert table_version(root) == 0
    append_frame(root, _frame("2013-01-02", 3), "ds", token=("delivery 2", 1))
    assert table_version(root) == 1
