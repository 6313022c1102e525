from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import func, select

from seamline.domain.promote_facts import ReleaseCreated
from seamline.store.facts import read_facts
from seamline.store.schema import FACTS
from seamline.store.stores import Stores


def test_one_writer_at_a_time(stores: Stores) -> None:
    """On either database: what a transaction has read is still so when it writes."""
    met = threading.Barrier(2)

    def look_then_write(_: int) -> int:
        with stores.db.transaction() as tx:
            found = tx.execute(select(func.count()).select_from(FACTS)).scalar_one()
            with suppress(threading.BrokenBarrierError):
                met.wait(0.3)  # where both could look before either writes
            stores.facts.append(tx, ReleaseCreated(f"sha256:{found:064x}", f"r{found}"), by="ada")
        return int(found)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(look_then_write, range(2))) == [0, 1]


def test_what_is_written_is_written_whoever_listens(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    """Who listens may fail: whoever wrote is told of what was written, and others hear of it."""
    heard: list[str] = []

    def fail() -> None:
        raise FileNotFoundError("preload.partial")

    stores.db.on_commit(fail)
    stores.db.on_commit(lambda: heard.append("second"))
    with stores.db.transaction() as tx:
        stores.facts.append(tx, ReleaseCreated(f"sha256:{1:064x}", "r1"), by="ada")
    with stores.db.read() as connection:
        assert len(read_facts(connection)) == 1
    assert heard == ["second"]
    assert "preload.partial" in caplog.text
