from __future__ import annotations

import json

import pytest
from sqlalchemy import insert, update

from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound
from seamline.promote.release import (
    Pin,
    Release,
    find_release,
    list_releases,
    parse_release,
    record_release,
)
from seamline.promote.rows import RELEASES
from seamline.store.stores import Stores

AIR = Pin("air-time", "1.0.0", "sha256:" + "a1" * 32)
LATE = Pin("late-arrival", "1.0.0", "sha256:" + "b2" * 32)
NIGHTLY = Pin("nightly-predictions", "1.0.0", "sha256:" + "c3" * 32)
DATA = Pin("flights", "6", "sha256:" + "d4" * 32)
EXAMPLE = Release(packages=(LATE, AIR), pipelines=(NIGHTLY,), datasets=(DATA,))

#: The example of docs/reference/release.md. If this changes, every release's name changes.
GOLDEN = "sha256:197236d0d04d082304ab596602aa76fdc5020ba01c0a3839795e7ed7dd63652e"


def test_the_example_has_its_golden_digest() -> None:
    assert EXAMPLE.digest == GOLDEN


def test_order_and_repetition_do_not_matter() -> None:
    again = Release(packages=(AIR, LATE, AIR), pipelines=(NIGHTLY,), datasets=(DATA,))
    assert again.document() == EXAMPLE.document()
    assert parse_release(EXAMPLE.document()).digest == EXAMPLE.digest
    assert json.loads(EXAMPLE.document())["schema"] == 1


def test_recorded_once_found_by_alias_and_digits(stores: Stores) -> None:
    first = record_release(stores, EXAMPLE, "2013-07", by="ada")
    assert record_release(stores, EXAMPLE, "another-name", by="bea") == first
    with stores.db.read() as connection:
        for reference in ("2013-07", EXAMPLE.digest, EXAMPLE.digest[:20], EXAMPLE.digest[7:17]):
            assert find_release(connection, reference).release.digest == EXAMPLE.digest
        assert len(list_releases(connection)) == 1
        with pytest.raises(NotFound, match="Did you mean 2013-07"):
            find_release(connection, "2013-7")
        with pytest.raises(NotFound):
            find_release(connection, "%%%%%%%%")


def test_an_alias_names_one_release(stores: Stores) -> None:
    record_release(stores, EXAMPLE, "2013-07", by="ada")
    with pytest.raises(Conflict, match="other contents"):
        record_release(stores, Release(packages=(AIR,)), "2013-07", by="ada")


def test_an_edited_row_is_refused_when_used(stores: Stores) -> None:
    record_release(stores, EXAMPLE, "2013-07", by="ada")
    edited = EXAMPLE.document().decode().replace("a1a1", "e5e5", 1)
    with stores.db.transaction() as tx:
        tx.execute(update(RELEASES).values(document=edited))
    with stores.db.read() as connection, pytest.raises(DigestMismatch, match="release 2013-07"):
        find_release(connection, "2013-07")


def test_digits_that_begin_two_releases_name_neither(stores: Stores) -> None:
    digest = record_release(stores, EXAMPLE, "one", by="ada").digest
    twin = {"digest": digest[:-4] + "0000", "alias": "two", "document": "{}"}
    with stores.db.transaction() as tx:
        tx.execute(insert(RELEASES).values(**twin, created_by="eve", created_at=""))
    with stores.db.read() as connection:
        with pytest.raises(InvalidInput, match="begin more than one release"):
            find_release(connection, digest[7:19])
        assert find_release(connection, digest).alias == "one"
        assert find_release(connection, "one").digest == digest
