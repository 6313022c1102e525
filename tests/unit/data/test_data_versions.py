from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seamline.data import materialize as materialize_module
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.materialize import (
    cache_path,
    materialize,
    parse_dataset_uri,
    remove_materialized,
)
from seamline.data.versions import (
    DatasetVersion,
    find_version,
    list_datasets,
    list_versions,
    read_version,
    show_version,
    table_folder,
    version_files,
)
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound
from seamline.store.stores import Stores

Deliver = Callable[[str], Path]
FIRST = "1 2013-01-01T12:00:00Z 3.5\n2 2013-01-02T12:00:00Z 4.5"
SECOND = "3 2013-01-02T13:00:00Z NA\n4 2013-01-03T12:00:00Z 1.25"


@pytest.fixture
def versions(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> tuple[DatasetVersion, DatasetVersion]:
    first = ingest(stores, calls, deliver(FIRST), source="a", by="ada").version
    return first, ingest(stores, calls, deliver(SECOND), source="b", by="ada").version


Versions = tuple[DatasetVersion, DatasetVersion]


def test_find_by_number_or_newest(stores: Stores, versions: Versions) -> None:
    first, second = versions
    assert find_version(stores, "calls@1") == first
    assert find_version(stores, "calls") == second
    assert find_version(stores, second.uri.removeprefix("datasets://")) == second
    assert list_versions(stores, "calls") == [first, second]


def test_list_datasets_at_their_newest_version(stores: Stores, versions: Versions) -> None:
    (row,) = list_datasets(stores)
    newest = versions[1]
    assert row == {
        "name": "calls",
        "version": 2,
        "rows": 4,
        "digest": newest.digest,
        "at": newest.at,
    }


@pytest.mark.parametrize(
    ("reference", "told"),
    [("cals", "Did you mean calls?"), ("calls@9", "It has versions 1 to 2.")],
)
def test_unknown_names_the_nearest(
    stores: Stores, versions: Versions, reference: str, told: str
) -> None:
    with pytest.raises(NotFound) as caught:
        find_version(stores, reference)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "uri", ["flights@7", "datasets://", "datasets://flights@-x", "datasets://f@7/", "s3://a/b"]
)
def test_uris_that_name_no_dataset(uri: str) -> None:
    with pytest.raises(InvalidInput):
        parse_dataset_uri(uri)


def test_show_summarises_each_column(stores: Stores, versions: Versions) -> None:
    shown = show_version(stores, versions[1])
    columns = {column["name"]: column for column in shown["columns"]}
    minutes = columns["minutes"]
    assert (minutes["dtype"], minutes["missing"]) == ("float", 0.25)
    assert (minutes["min"], minutes["max"], minutes["mean"]) == (1.25, 4.5, 9.25 / 3)
    assert columns["at"]["min"] == "2013-01-01T12:00:00.000000Z"
    assert columns["id"]["max"] == 4
    assert shown["dataset"] == "calls" and shown["source"] == "b"


def test_read_some_columns_of_some_days(stores: Stores, versions: Versions) -> None:
    first, second = versions
    frame = read_version(stores, second)
    assert frame.columns == ["id", "at", "minutes", "ds"]
    assert frame.schema["ds"] == pl.Date
    assert frame["id"].to_list() == [1, 2, 3, 4]
    assert read_version(stores, first)["id"].to_list() == [1, 2]
    some = read_version(
        stores, second, columns=["id"], since=date(2013, 1, 2), until=date(2013, 1, 3)
    )
    assert some.columns == ["id"] and some["id"].sort().to_list() == [2, 3]
    assert read_version(stores, second, columns=["ds"]).height == 4
    assert read_version(stores, second, since=date(2020, 1, 1)).schema == frame.schema
    with pytest.raises(NotFound, match="Did you mean minutes"):
        read_version(stores, second, columns=["minuets"])


def altered(stores: Stores, version: DatasetVersion) -> Path:
    """The table's file of the newest day, changed in place."""
    file = version_files(stores, version)[-1]
    path = table_folder(stores, version.dataset) / file.relative
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


def test_an_altered_file_is_not_read(stores: Stores, versions: Versions) -> None:
    path = altered(stores, versions[1])
    with pytest.raises(DigestMismatch) as caught:
        read_version(stores, versions[1])
    message = caught.value.message
    assert path.name in message and "calls@2" in message
    assert digest_of(path.read_bytes()) in message
    assert version_files(stores, versions[1])[-1].sha256 in message
    assert read_version(stores, versions[0]).height == 2  # its files are as they were
    path.unlink()
    with pytest.raises(DigestMismatch, match="found no file"):
        read_version(stores, versions[1])


def test_materialize_exactly_the_version(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    first, second = versions
    folder = materialize(stores, second, tmp_path / "run")
    assert folder == tmp_path / "run" / "calls@2"
    assert list((tmp_path / "run").iterdir()) == [folder]
    found = {
        str(path.relative_to(folder)): digest_of(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == {file.relative: file.sha256 for file in version_files(stores, second)}
    frame = pl.read_parquet(folder / "**/*.parquet", hive_partitioning=True)
    assert frame.sort("id").equals(read_version(stores, second).sort("id"))
    assert materialize(stores, first, tmp_path / "run").name == "calls@1"


def test_a_materialized_folder_is_read_only_and_can_be_removed(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    folder = materialize(stores, versions[0], tmp_path)
    for path in (folder, *folder.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222
    remove_materialized(folder)
    assert not folder.exists()
    remove_materialized(folder)
    for file in version_files(stores, versions[0]):
        assert not stat.S_IMODE(cache_path(stores, file.sha256).stat().st_mode) & 0o222


def test_a_folder_in_use_is_left_in_place(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    folder = materialize(stores, versions[0], tmp_path / "shared")
    before = folder.stat().st_ino
    with ThreadPoolExecutor(4) as pool:
        for parent in ("shared", "new"):
            eight = ([stores] * 8, [versions[0]] * 8, [tmp_path / parent] * 8)
            again = list(pool.map(materialize, *eight))
            assert set(again) == {tmp_path / parent / "calls@1"}
            assert list((tmp_path / parent).iterdir()) == [tmp_path / parent / "calls@1"]
    assert folder.stat().st_ino == before


def test_an_added_file_makes_the_folder_anew(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    folder = materialize(stores, versions[0], tmp_path)
    day = next(folder.iterdir())
    day.chmod(0o755)
    (day / "more.parquet").write_bytes(b"more rows")
    assert not list(materialize(stores, versions[0], tmp_path).rglob("more.parquet"))


def test_an_altered_cached_file_is_replaced(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    folder = materialize(stores, versions[0], tmp_path)
    file = version_files(stores, versions[0])[0]
    placed = folder / file.relative
    placed.chmod(0o644)
    placed.write_bytes(b"altered by a task")
    again = materialize(stores, versions[0], tmp_path)
    assert digest_of((again / file.relative).read_bytes()) == file.sha256
    other = materialize(stores, versions[0], tmp_path / "other")
    assert digest_of((other / file.relative).read_bytes()) == file.sha256


def test_an_altered_table_file_is_refused(
    stores: Stores, versions: Versions, tmp_path: Path
) -> None:
    path = altered(stores, versions[1])
    with pytest.raises(DigestMismatch, match=path.name):
        materialize(stores, versions[1], tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
    cached = [found for found in (stores.root / "cache").rglob("*") if found.is_file()]
    assert len(cached) == len(version_files(stores, versions[1])) - 1


def test_of_two_who_lay_out_a_version_at_once_the_first_is_not_disturbed(
    stores: Stores, versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find a folder that somebody has altered; the first has begun to read in another one by
    the time that the second has made its own."""
    folder = materialize(stores, versions[0], tmp_path / "shared")
    folder.chmod(0o755)
    (folder / "more").touch()
    look, looks, first = materialize_module.holds_exactly, list[bool](), list[int]()

    def overtaken(*given: Any) -> bool:
        looks.append(look(*given))
        if len(looks) == 2:
            first.append(materialize(stores, versions[0], tmp_path / "shared").stat().st_ino)
            return False
        return looks[-1]

    monkeypatch.setattr(materialize_module, "holds_exactly", overtaken)
    again = materialize(stores, versions[0], tmp_path / "shared")
    assert [again.stat().st_ino] == first
    assert list((tmp_path / "shared").iterdir()) == [folder]
    assert not (folder / "more").exists()


def test_a_folder_that_retention_removes_just_now_is_laid_out_anew(
    stores: Stores, versions: Versions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = materialize(stores, versions[0], tmp_path)
    hashed = materialize_module.digest_of_file

    def removed(path: Path) -> str:
        monkeypatch.setattr(materialize_module, "digest_of_file", hashed)
        folder.rename(tmp_path / ".removed")
        return hashed(path)

    monkeypatch.setattr(materialize_module, "digest_of_file", removed)
    again = materialize(stores, versions[0], tmp_path)
    assert again == folder
    assert pl.read_parquet(again)["id"].to_list() == [1, 2]
