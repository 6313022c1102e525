"""Which blobs are needed, and that one which comes into use again is not lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from sqlalchemy import Table, insert

from seamline.domain.clock import ManualClock
from seamline.domain.digests import digest_of
from seamline.store.blobs import CHUNK_BYTES, Blobs
from seamline.store.references import referenced_blobs
from seamline.store.schema import METADATA, SETTINGS
from seamline.store.stores import Stores


def mention(stores: Stores, name: str, text: str) -> None:
    with stores.db.transaction() as tx:
        tx.execute(insert(SETTINGS).values(name=name, value=text))


def referenced(stores: Stores, **more: object) -> dict[str, str]:
    with stores.db.read() as connection:
        return referenced_blobs(connection, stores.blobs, **more)  # type: ignore[arg-type]


def test_whatever_a_row_mentions_is_needed_and_what_that_names(stores: Stores) -> None:
    file = stores.blobs.put(b"a file of a folder")
    folder = stores.blobs.put(json.dumps({"a": file}).encode())
    lists = stores.blobs.put(f"sha256:{'0' * 64}\n{folder}\n".encode())
    orphan = stores.blobs.put(b"nobody's")
    inside = stores.blobs.put(f"text that mentions {orphan}".encode())
    mention(stores, "one", f'{{"deep": ["{lists}"]}}')
    mention(stores, "two", f"as a path: {inside.removeprefix('sha256:')}.parquet")
    found = referenced(stores)
    assert {file, folder, lists, inside} <= set(found)
    assert found[file] == "settings"
    assert orphan not in found  # data are no documents


def test_a_digest_is_found_wherever_it_lies_in_a_long_list(stores: Stores) -> None:
    for shift in (0, 1, 40, 63, 64, 70):
        digest = digest_of(str(shift).encode())
        start = b'{"x":"' + b" " * (CHUNK_BYTES - 6 - shift)
        held = stores.blobs.put(start + digest.encode() + b'"}')
        mention(stores, f"shift {shift}", held)
        assert digest in referenced(stores)


def test_the_first_reason_is_told_and_ignored_rows_do_not_count(
    stores: Stores, tmp_path: Path
) -> None:
    one, two = (stores.blobs.put(name) for name in (b"one", b"two"))
    mention(stores, "a", one)
    mention(stores, "b", two)
    path = tmp_path / "production.json"
    path.write_text(f'{{"wheel": "{one}"}}')
    documents = [("serving", path), ("gone", tmp_path / "none.json")]
    found = referenced(stores, documents=documents, ignored={"settings": ("name", {"b"})})
    assert found[one] == "serving"
    assert two not in found


def test_tables_that_this_version_does_not_know_count_too(stores: Stores) -> None:
    held = stores.blobs.put(b"a newer version's")
    with stores.db.transaction() as tx:
        tx.exec_driver_sql("CREATE TABLE newer (name VARCHAR(90), bytes INTEGER)")
        tx.exec_driver_sql(f"INSERT INTO newer VALUES ('{held}', 1)")
    assert referenced(stores)[held] == "newer"
    assert not any(isinstance(one, Table) and one.name == "newer" for one in METADATA.sorted_tables)


# -- removal -------------------------------------------------------------------------------------
@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs", ManualClock())


def test_only_a_blob_that_was_not_put_since_is_removed(blobs: Blobs) -> None:
    digest = blobs.put(b"bytes")
    assert [(one.digest, one.size_bytes) for one in blobs.stored()] == [(digest, 5)]
    put_at = next(blobs.stored()).put_at
    assert not blobs.remove_unused(digest, put_at - 1)
    assert blobs.remove_unused(digest, put_at)
    assert not blobs.holds(digest) and not blobs.remove_unused(digest, put_at)
    assert blobs.put(b"bytes") == digest and blobs.get(digest) == b"bytes"


def test_putting_again_is_a_use(blobs: Blobs, tmp_path: Path) -> None:
    digest = blobs.put(b"bytes")
    path = tmp_path / "file"
    path.write_bytes(b"bytes")
    for put_again in (lambda: blobs.put(b"bytes"), lambda: blobs.put_file(path)):
        os.utime(blobs.path_of(digest), (1.0, 1.0))
        put_again()
        assert not blobs.remove_unused(digest, 2.0)


def test_what_is_put_while_it_is_looked_at_comes_back(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = blobs.put(b"bytes")
    os.utime(blobs.path_of(digest), (1.0, 1.0))
    replace = Path.replace

    def use_first(self: Path, target: Path) -> Path:
        os.utime(self)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", use_first)
    assert not blobs.remove_unused(digest, 2.0)
    assert blobs.get(digest) == b"bytes"


def test_what_a_killed_process_moved_aside_comes_back(blobs: Blobs) -> None:
    digest = blobs.put(b"bytes")
    aside = blobs.root / ".removing" / digest.removeprefix("sha256:")
    aside.parent.mkdir()
    blobs.path_of(digest).replace(aside)
    again = Blobs(blobs.root, ManualClock())
    assert again.get(digest) == b"bytes"
