"""Object stores as sources: a real S3 server, and the same from a folder of this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.sources.batches import Delivery
from seamline.data.sources.opening import open_source
from seamline.domain.errors import InvalidInput, NotFound, Refused, Unavailable


@dataclass(frozen=True)
class Place:
    """Where a test puts files, and how they are read from there."""

    uri: str
    put: Callable[[str, bytes], Any]
    credentials: Credentials
    folder: Path
    #: For delta-rs, which writes there in a test.
    table_uri: str
    options: dict[str, str] = field(default_factory=dict)

    def read(self, below: str, since: str | None = None, **declared: Any) -> Delivery:
        folder = self.folder / uuid.uuid4().hex
        folder.mkdir()
        declaration = DatasetDeclaration("calls", source=self.uri, **declared)
        uri = f"{self.uri}/{below}".rstrip("/")
        return open_source(uri, declaration, folder, since=since, credentials=self.credentials)


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    spools = tmp_path / "spools"
    spools.mkdir()
    if request.param == "file":
        root = tmp_path / "lake"

        def put(key: str, data: bytes) -> None:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(data)

        return Place(f"file://{root}", put, ANONYMOUS, spools, str(root))
    bucket = request.getfixturevalue("bucket")
    credentials = Credentials("lake", bucket.options)
    options = {**bucket.options, "allow_http": "true", "conditional_put": "etag"}
    return Place(bucket.uri, bucket.put, credentials, spools, bucket.uri, options)


def rows_of(delivery: Delivery) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=delivery.schema), *delivery.batches()])


def parquet(**columns: list[object]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_named_by_the_digest_of_its_bytes(place: Place, packed: bool) -> None:
    data = b"id,minutes\n1,3.5\n2,n/a\n"
    data = gzip.compress(data) if packed else data
    place.put("in/july.csv", data)
    delivery = place.read("in/july.csv")
    assert delivery.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert delivery.name == f"{place.uri}/in/july.csv"
    assert delivery.is_text
    assert rows_of(delivery).rows() == [("1", "3.5"), ("2", "n/a")]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "arrow"])
def test_typed_files(place: Place, form: str) -> None:
    frame = pl.DataFrame({"id": [1, 2], "who": ["Ada", None]})
    file = io.BytesIO()
    {"parquet": frame.write_parquet, "jsonl": frame.write_ndjson, "arrow": frame.write_ipc}[form](
        file
    )
    place.put(f"calls.{form}", file.getvalue())
    assert rows_of(place.read(f"calls.{form}")).equals(frame)


def test_a_folder_of_parquet_has_the_columns_of_its_names(place: Place) -> None:
    place.put("t/day=2026-03-01/hub=JFK/0.parquet", parquet(id=[1, 2]))
    place.put("t/day=2026-03-02/hub=New%20York/0.parquet", parquet(id=[3]))
    place.put("t/day=2026-03-02/hub=__HIVE_DEFAULT_PARTITION__/0.parquet", parquet(id=[4]))
    place.put("t/_SUCCESS", b"")
    place.put("t/_metadata/0.parquet", b"not ours")
    frame = rows_of(place.read("t"))
    assert frame.schema == {"id": pl.Int64, "day": pl.Date, "hub": pl.String}
    assert frame.sort("id")["hub"].to_list() == ["JFK", "JFK", "New York", None]


def test_only_files_that_came_since_are_read(place: Place) -> None:
    place.put("in/a.csv.gz", gzip.compress(b"id\n1\n"))
    place.put("in/b.csv.gz", gzip.compress(b"id\n2\n"))
    first = place.read("in")
    assert sorted(rows_of(first)["id"]) == ["1", "2"] and first.is_text
    again = place.read("in", since=first.watermark)
    assert (again.rows, again.follows, again.watermark) == (0, first.watermark, first.watermark)
    place.put("in/c.csv", b"id\n3\n")
    second = place.read("in", since=first.watermark)
    assert rows_of(second)["id"].to_list() == ["3"]
    whole = place.read("in", since=second.watermark, mode=Mode.REPLACE)
    assert (whole.rows, whole.watermark) == (3, None)


def test_a_file_that_was_named_does_not_come_again_with_its_folder(place: Place) -> None:
    place.put("a.csv", b"id\n1\n")
    first = place.read("")
    place.put("b.csv", b"id\n2\n")
    place.put("c.csv", b"id\n3\n")
    named = place.read("c.csv", since=first.watermark)
    assert (rows_of(named)["id"].to_list(), named.follows) == (["3"], first.watermark)
    twice = place.read("c.csv", since=named.watermark)
    assert (twice.rows, rows_of(twice).height, twice.watermark) == (0, 0, named.watermark)
    rest = place.read("", since=named.watermark)
    assert rows_of(rest)["id"].to_list() == ["2"]
    assert place.read("", since=rest.watermark).rows == 0
    assert place.read("a.csv", since=rest.watermark).rows == 0


def test_files_that_do_not_fit_together_are_named(place: Place) -> None:
    place.put("in/a.csv", b"id\n1\n")
    place.put("in/b.csv", b"name\nx\n")
    with pytest.raises(InvalidInput, match=r"in/b\.csv has not the columns .* id, name"):
        place.read("in")
    place.put("odd/a.csv", b"id\n1\n")
    place.put("odd/b.parquet", parquet(id=[1]))
    with pytest.raises(InvalidInput, match=r"b\.parquet is of another kind"):
        place.read("odd")


def test_what_is_not_there(place: Place) -> None:
    with pytest.raises(NotFound, match="nothing at"):
        place.read("none.csv")
    place.put("cut.parquet", parquet(id=[1, 2])[:-20])
    with pytest.raises(InvalidInput, match=r"cut\.parquet cannot be read as parquet.*cut off"):
        rows_of(place.read("cut.parquet"))


def write(place: Place, ids: list[int], **how: Any) -> None:
    table = pl.DataFrame({"id": ids, "hub": [f"H{one % 2}" for one in ids]}).to_arrow()
    write_deltalake(
        f"{place.table_uri}/delta",
        table,
        partition_by=["hub"],
        storage_options=place.options or None,
        **{"mode": "append", **how},
    )


def test_a_delta_table_at_a_version_and_what_came_since(place: Place) -> None:
    write(place, [1, 2])
    write(place, [3, 4])
    first = place.read("delta", version=0)
    assert sorted(rows_of(first).rows()) == [(1, "H1"), (2, "H0")]
    assert first.name.endswith("delta version 0")
    second = place.read("delta", since=first.watermark)
    assert sorted(rows_of(second)["id"]) == [3, 4]
    third = place.read("delta", since=second.watermark)
    assert (third.rows, third.follows) == (0, second.watermark)
    whole = place.read("delta", mode=Mode.REPLACE)
    assert sorted(rows_of(whole)["id"]) == [1, 2, 3, 4]
    assert whole.digest == place.read("delta", mode=Mode.REPLACE).digest
    with pytest.raises(NotFound, match=r"no version 7.*newest version is 1"):
        place.read("delta", version=7)


def test_rows_that_a_delta_table_rewrote_are_not_guessed(place: Place) -> None:
    write(place, [1, 2])
    first = place.read("delta")
    write(place, [2, 3], mode="overwrite")
    with pytest.raises(Refused, match=r"2 of 2 files .* rewritten or deleted since version 0"):
        place.read("delta", since=first.watermark)
    assert sorted(rows_of(place.read("delta", mode=Mode.REPLACE))["id"]) == [2, 3]
    assert DeltaTable(f"{place.table_uri}/delta", storage_options=place.options).version() == 1


def test_a_delta_table_with_features_that_are_not_read_is_refused(place: Place) -> None:
    write(place, [1, 2])
    log = "delta/_delta_log/00000000000000000001.json"
    features = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features}
    action = {"protocol": {**protocol, "writerFeatures": features}}
    place.put(log, json.dumps(action).encode())
    with pytest.raises(Unavailable, match="cannot be read"):
        place.read("delta")
    assert sorted(rows_of(place.read("delta", version=0))["id"]) == [1, 2]


def test_a_wrong_key_is_not_repeated(bucket: Any, tmp_path: Path) -> None:
    bucket.put("a.csv", b"id\n1\n")
    wrong = Credentials("lake", {**bucket.options, "secret_access_key": "hunter22-wrong"})
    declaration = DatasetDeclaration("calls", source=bucket.uri)
    for credentials in (wrong, ANONYMOUS):
        with pytest.raises(Unavailable) as found:
            open_source(
                f"{bucket.uri}/a.csv", declaration, tmp_path, since=None, credentials=credentials
            )
        assert "hunter22" not in str(found.value)


def test_an_unknown_option_is_named(bucket: Any, tmp_path: Path) -> None:
    odd = Credentials("lake", {**bucket.options, "acess_key": "hunter22"})
    declaration = DatasetDeclaration("calls", source=bucket.uri)
    with pytest.raises(InvalidInput, match="acess_key") as found:
        open_source(f"{bucket.uri}/a.csv", declaration, tmp_path, since=None, credentials=odd)
    assert "hunter22" not in str(found.value)
