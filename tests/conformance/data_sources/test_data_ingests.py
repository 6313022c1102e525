"""Ingests that meet: several at a time, while the source grows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seamline.data.versions import find_version, read_version
from seamline.server import ControlPlane


def test_rows_come_once_however_many_ask(
    plane: ControlPlane,
    ask: Callable[..., Any],
    declare: Callable[[str], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.db"

    def add(*ids: int) -> None:
        with sqlite3.connect(path) as shop:
            shop.execute("CREATE TABLE IF NOT EXISTS calls (id INTEGER)")
            shop.executemany("INSERT INTO calls VALUES (?)", [(one,) for one in ids])
        shop.close()

    declare(
        f'[datasets.calls]\nkeys = ["id"]\nsource = "sqlite://{path}"\ntable = "calls"\n'
        'since = "id"\n'
    )
    add(1)
    assert ask("/datasets/calls/ingests", {}).status_code == 200
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for at in range(2, 12, 2):
            add(at, at + 1)
            asked += [pool.submit(ask, "/datasets/calls/ingests", {}) for _ in range(2)]
    answers = [one.result() for one in asked]
    # Whoever is overtaken three times says so, and has taken nothing in.
    assert {one.status_code for one in answers} <= {200, 409}
    assert any(one.status_code == 200 for one in answers)
    assert ask("/datasets/calls/ingests", {}).status_code == 200
    stores = plane.platform.stores
    rows = read_version(stores, find_version(stores, "calls"))
    assert sorted(rows["id"]) == list(range(1, 12))


def test_a_source_that_dies_leaves_nothing_behind(
    plane: ControlPlane,
    ask: Callable[..., Any],
    declare: Callable[[str], None],
    tmp_path: Path,
) -> None:
    path = tmp_path / "shop.db"
    with sqlite3.connect(path) as shop:
        shop.execute("CREATE TABLE calls (id INTEGER, word TEXT)")
        rows = [(one, "x" * 1000) for one in range(20_000)]
        shop.executemany("INSERT INTO calls VALUES (?, ?)", rows)
    shop.close()
    declare(f'[datasets.calls]\nsource = "sqlite://{path}"\ntable = "calls"\nmode = "replace"\n')
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    answer = ask("/datasets/calls/ingests", {})
    assert answer.status_code in (400, 503) and "malformed" in answer.text, answer.text
    assert ask("/datasets").json() == []
    assert list((plane.platform.root / "incoming").iterdir()) == []
    path.write_bytes(whole)
    assert ask("/datasets/calls/ingests", {}).json()["rows"] == 20_000
