"""The ledger: 100,000 governance facts verified in the database, exported, and verified offline."""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import insert, update

from seamline.app.trust.export_audit import export_ledger
from seamline.domain.clock import SystemClock, iso, new_id
from seamline.domain.facts import RunRequested
from seamline.domain.promote_facts import ApprovalGiven, GateDecided, PromotionMoved
from seamline.store.canonical import canonical_json
from seamline.store.chain import GENESIS, link_hash
from seamline.store.facts import read_links, verify_chain
from seamline.store.schema import CHAIN_HEAD, FACTS
from seamline.store.stores import Stores, open_stores
from seamline.trust.audit import verify_export
from seamline.trust.keys import KEYS, load_or_create_key

DIGEST = "sha256:" + "a1" * 32


def fill(stores: Stores, count: int) -> None:
    """As a workspace that is used: runs with arguments, gates, approvals, steps. The rows that the
    fact log would have written one by one."""
    load_or_create_key(stores.root / KEYS)
    previous, rows = GENESIS, []
    for number in range(count):
        fact = (
            RunRequested(f"run-{number}", "dataops", "train@1.0.0", DIGEST, {"n": number}),
            GateDecided(f"p-{number}", "digests", "pass", DIGEST),
            ApprovalGiven(f"p-{number}", DIGEST, "production", DIGEST, DIGEST, "on the board"),
            PromotionMoved(f"p-{number}", DIGEST, "production", "applying", "live", ""),
        )[number % 4]
        said = (new_id(stores.clock), fact.kind, iso(stores.clock.now()), "zoë", None)
        body = canonical_json(json.loads(json.dumps(fact.to_json()))).decode()
        made = link_hash(*said, body, previous)
        names = dict(zip(("id", "kind", "at", "by", "caused_by"), said, strict=True))
        place = {"chain_seq": number + 1, "previous_hash": previous, "hash": made}
        rows.append({**names, "subject": fact.subject, "body": body, **place})
        previous = made
    with stores.db.transaction() as tx:
        tx.execute(insert(FACTS), rows)
        tx.execute(update(CHAIN_HEAD).values(chain_seq=count, hash=previous))


def hash_all(stores: Stores) -> None:
    """The floor: nothing but the digests, of texts that are in memory."""
    with stores.db.read() as connection:
        texts = [link.body.encode() + b"x" * 250 for link in read_links(connection, until=1 << 40)]
    began = time.perf_counter()
    for text in texts:
        hashlib.sha256(text).hexdigest()
    print(f"| sha256 of as many bytes alone | {time.perf_counter() - began:.2f} s | | 1 | |")


def row(name: str, measure: Callable[[], Any], runs: int) -> None:
    """One thread does it all, so its processor time is what it takes on an idle machine."""
    found, processor = [], []
    for _ in range(runs):
        began, began_cpu = time.perf_counter(), time.process_time()
        measure()
        found.append(time.perf_counter() - began)
        processor.append(time.process_time() - began_cpu)
    median, cpu = statistics.median(found), statistics.median(processor)
    span = f"{min(found):.2f} to {max(found):.2f}"
    print(f"| {name} | {median:.2f} s | {span} | {runs} | {cpu:.2f} s |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = open_stores(Path(folder) / "workspace", SystemClock())
        fill(stores, given.facts)
        export = Path(folder) / "ledger.jsonl"

        def verify() -> None:
            with stores.db.read() as connection:
                report = verify_chain(connection)
            assert (report.checked, report.broken) == (given.facts, None)

        def write() -> None:
            with export.open("wb") as file:
                file.writelines(export_ledger(stores))

        def check() -> None:
            with export.open("rb") as file:
                report = verify_export(file)
            assert (report.facts, report.problems) == (given.facts, ())

        print(f"| {given.facts:,} facts | median | range, s | n | processor |")
        print("|---|---|---|---|---|")
        hash_all(stores)
        row("`audit verify` (SQLite)", verify, given.runs)
        row("`audit export`", write, given.runs)
        row("`audit check`, offline", check, given.runs)
        stores.db.close()


if __name__ == "__main__":
    main()
