"""Delta tables on a real S3 server, where a commit is a put that fails where somebody was faster:
exports that meet. And versions that leave, and come back as another dataset: by S3 and PostgreSQL.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from seamline.data.credentials import Credentials
from seamline.data.ingest import ingest
from seamline.data.locations import parse_location
from seamline.data.sinks import delta
from seamline.data.sinks.exports import Export, export_of_frame
from seamline.data.sinks.sending import Form, decide_target, send
from seamline.data.versions import find_version, read_version
from seamline.domain.errors import Conflict, SeamlineError, Unavailable
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet
from seamline.server import ControlPlane
from seamline.store.stores import Stores

EXPORTS = 8


def one_day(number: int) -> Export:
    day = date(2026, 3, number)
    frame = pl.DataFrame({"id": [number] * 10, "ds": pl.Series([day] * 10, dtype=pl.Date)})
    return export_of_frame("calls@1", frame, since=day, until=date(2026, 3, number + 1))


def test_exports_that_meet_all_land(bucket: Any, sqlite_stores: Stores, tmp_path: Path) -> None:
    """Each brings a day of its own; whoever is overtaken says so, and asks again."""
    credentials = Credentials("lake", bucket.options)
    target = decide_target(parse_location(f"{bucket.uri}/calls"), Form.DELTA, None)

    def bring(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        for attempt in range(1, 50):
            try:
                send(
                    *(sqlite_stores, one_day(number), target, folder),
                    by="ada",
                    credentials=credentials,
                )
            except (Conflict, Unavailable):
                continue
            return attempt
        raise AssertionError(f"the export of day {number} never landed")

    with ThreadPoolExecutor(EXPORTS) as pool:
        attempts = list(pool.map(bring, range(1, EXPORTS + 1)))
    options = {**bucket.options, "allow_http": "true"}
    table = DeltaTable(f"{bucket.uri}/calls", storage_options=options)
    rows = pl.DataFrame(table.to_pyarrow_table())
    expected = [(date(2026, 3, one), one, 10) for one in range(1, EXPORTS + 1)]
    assert rows.group_by("ds", "id").len().sort("ds").rows() == expected, attempts
    assert table.version() == EXPORTS - 1


def test_whoever_comes_second_to_make_a_table_does_not_end_it(
    bucket: Any, sqlite_stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one's table is made after the look whether there is one."""
    credentials = Credentials("lake", bucket.options)
    target = decide_target(parse_location(f"{bucket.uri}/calls"), Form.DELTA, None)
    look = delta._find

    def slow_look(uri: str, options: dict[str, str] | None) -> DeltaTable | None:
        found = look(uri, options)
        monkeypatch.setattr(delta, "_find", look)
        send(sqlite_stores, one_day(1), target, tmp_path, by="bea", credentials=credentials)
        return found

    monkeypatch.setattr(delta, "_find", slow_look)
    with pytest.raises(Unavailable, match="already exists"):
        send(sqlite_stores, one_day(2), target, tmp_path, by="ada", credentials=credentials)
    send(sqlite_stores, one_day(2), target, tmp_path, by="ada", credentials=credentials)
    options = {**bucket.options, "allow_http": "true"}
    table = DeltaTable(f"{bucket.uri}/calls", storage_options=options).to_pyarrow_table()
    assert sorted(set(pl.DataFrame(table)["id"])) == [1, 2]


@dataclass(frozen=True)
class Place:
    uri: str
    #: Of the export and of the dataset that reads it again.
    how: dict[str, str]
    declared: str


@pytest.fixture(params=["s3-delta", "postgresql-table"])
def place(request: pytest.FixtureRequest, ask: Callable[..., Any]) -> Place:
    if request.param == "postgresql-table":
        url = request.getfixturevalue("postgres_url").replace("+psycopg", "")
        return Place(url, {"table": "calls"}, 'table = "calls"')
    bucket = request.getfixturevalue("bucket")
    values = {"uri": bucket.uri, **bucket.options}
    assert ask("/environments/dataops/secrets/lake", {"values": values}).status_code == 200
    how = {"form": "delta", "credentials": "lake"}
    return Place(f"{bucket.uri}/calls", how, 'credentials = "lake"')


def test_what_left_comes_back_as_it_was(
    plane: ControlPlane,
    ask: Callable[..., Any],
    declare: Callable[[str], None],
    place: Place,
    tmp_path: Path,
) -> None:
    declare(
        f"""
        [datasets.calls]
        time = "at"

        [datasets.copies]
        time = "at"
        source = "{place.uri}"
        mode = "replace"
        {place.declared}
        """
    )
    stores = plane.platform.stores
    declaration = plane.platform.declarations().dataset("calls")
    for version in (1, 2):
        path = tmp_path / f"{version}.csv"
        path.write_text(f"id,at,who\n{version},2025-03-0{version}T23:30:00.123456Z,Łucja\n")
        ingest(stores, declaration, path, source=path.name, by="ada")
        answer = ask(f"/datasets/calls@{version}/exports", {"to": place.uri, **place.how})
        assert answer.status_code == 200, answer.text
        taken = ask("/datasets/copies/ingests", {})
        assert taken.status_code == 200, taken.text
        assert (taken.json()["version"], taken.json()["rows"]) == (version, version)
        left, came = (
            read_version(stores, find_version(stores, f"{name}@{version}")).sort("id")
            for name in ("calls", "copies")
        )
        assert came.select(left.columns).equals(left)


DUCKDB = ("duckdb==1.5.5", "duckdb-extension-delta==1.5.5", "duckdb-extension-httpfs==1.5.5")
ASK_DUCKDB = """
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_delta, duckdb_extension_httpfs
connection, given = duckdb.connect(), json.loads(sys.argv[1])
for package in (duckdb_extension_httpfs, duckdb_extension_delta):
    (extension,) = Path(package.__path__[0]).rglob("*.duckdb_extension")
    connection.load_extension(str(extension))
connection.sql(
    f"CREATE SECRET (TYPE s3, KEY_ID '{given['access_key_id']}', "
    f"SECRET '{given['secret_access_key']}', REGION '{given['region']}', "
    f"ENDPOINT '{given['endpoint'].removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
)
found = connection.sql(f"SELECT id, ds FROM delta_scan('{given['uri']}') ORDER BY id, ds")
print(json.dumps([[one, day.isoformat()] for one, day in found.fetchall()]))
"""


def test_duckdb_reads_the_table_in_the_object_store(
    bucket: Any, sqlite_stores: Stores, tmp_path: Path
) -> None:
    cache = EnvironmentCache(tmp_path / "environments", Path(sys.executable))
    try:
        python = cache.ensure(RequirementSet.of(DUCKDB)).python
    except SeamlineError as error:
        pytest.skip(f"{', '.join(DUCKDB)} cannot be installed here: {error}")
    target = decide_target(parse_location(f"{bucket.uri}/calls"), Form.DELTA, None)
    for number in (1, 2, 1):
        credentials = Credentials("lake", bucket.options)
        send(*(sqlite_stores, one_day(number), target, tmp_path), by="ada", credentials=credentials)
    given = json.dumps({**bucket.options, "uri": f"{bucket.uri}/calls"})
    done = subprocess.run([python, "-c", ASK_DUCKDB, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[n, f"2026-03-0{n}"] for n in (1, 2) for _ in range(10)]
