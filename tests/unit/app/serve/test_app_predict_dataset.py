"""A table filled by what is live: each row once, whatever was killed on the way."""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seamline.app.data.ingest_delivery import ingest_delivery
from seamline.app.serve import bulk_job, bulk_source
from seamline.app.serve import predict_dataset as module
from seamline.app.serve.bulk_job import JobFolder
from seamline.app.serve.predict_dataset import predict_dataset
from seamline.data.versions import find_version
from seamline.data.versions.read import read_version
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, MachineryError, NotFound
from seamline.project.plan import apply_project
from seamline.serve.log.tables import compact, read_predictions
from seamline.serve.snapshots.families import Column, Family, Member
from seamline.serve.snapshots.snapshot import (
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.server import ControlPlane
from seamline.store.facts import read_facts

PROJECT = """
project = "late"
team = "late"

[datasets.flights]
date = ["year", "month", "day"]
keys = ["flight"]
"""
MODEL = """
class Model:
    def outputs(self, columns):
        if 13 in list(columns["hour"]):
            raise ValueError("hour 13")
        return {"score": [hour * SCALE + len(carrier or "") for hour, carrier in
                          zip(columns["hour"], columns["carrier"])]}


def load():
    return Model()
"""
RELEASE = "sha256:" + "ab" * 32
ROWS, DAYS = 600, 6


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


@pytest.fixture
def flights(plane: ControlPlane, tmp_path: Path) -> str:
    """600 flights on six days, delivered in two versions."""
    apply_project(plane.platform.stores, PROJECT, "seamline.toml", by="ann")
    deliver(plane, tmp_path / "a.csv", range(ROWS // 2))
    deliver(plane, tmp_path / "b.csv", range(ROWS // 2, ROWS))
    return "flights@2"


def deliver(
    plane: ControlPlane, path: Path, numbers: range, hour: Callable[[int], int] | None = None
) -> None:
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["year", "month", "day", "flight", "hour", "carrier"])
        for n in numbers:
            at = n % 12 if hour is None else hour(n)
            writer.writerow([2013, 1, n % DAYS + 1, n, at, "AA" if n % 2 else ""])
    ingest_delivery(plane.platform, "flights", path, source=path.name, by="ann")


def wheel(plane: ControlPlane, module: str, scale: float) -> tuple[str, str]:
    """(digest, path)."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"{module}/__init__.py"), f"SCALE = {scale}\n{MODEL}")
    digest = plane.platform.stores.blobs.put(memory.getvalue())
    return digest, str(plane.platform.stores.blobs.path_of(digest))


def spec_of(plane: ControlPlane, scale: float = 0.5, **changes: Any) -> EndpointSpec:
    digest, path = wheel(plane, "late", scale)
    inputs = (Column("hour", "INT64"), Column("carrier", "BYTES", nullable=True))
    spec = EndpointSpec(
        "late-arrival", "late", "1.0.1", digest, digest_of(b"payload"), path, "late.whl", "late",
        "regression", Signature(inputs, (Column("score", "FP64"),)), sys.executable,
    )  # fmt: skip
    return replace(spec, **changes)


def deploy(plane: ControlPlane, *specs: EndpointSpec, release: str = RELEASE) -> None:
    snapshot = ServingSnapshot("production", 1, release, "june", "2026-01-01T00:00:00Z", specs)
    path = snapshot_path(plane.platform.root, "production")
    write_snapshot(path, snapshot, plane.platform.key)


def predict(plane: ControlPlane, data: str, model: str = "late-arrival") -> dict[str, Any]:
    return predict_dataset(plane.platform, model, data, "scores", "production", by="bea")


def table(plane: ControlPlane) -> pl.DataFrame:
    stores = plane.platform.stores
    return read_version(stores, find_version(stores, "scores-production")).sort("flight")


def check_each_row_once(plane: ControlPlane, scale: float = 0.5) -> None:
    found = table(plane)
    expected = [n % 12 * scale + (2 if n % 2 else 0) for n in range(ROWS)]
    assert found["flight"].to_list() == list(range(ROWS))
    assert found["score"].to_list() == expected
    logged = read_predictions(plane.platform.stores, "production", "late-arrival")
    key = ["prediction_id", "row"]
    assert sorted(logged.select(key).rows()) == sorted(found.select(key).rows())
    assert set(logged["route"]) == {"batch"}
    assert set(logged["principal"]) == {"bea"}


def test_every_row_is_answered_logged_and_led_back(plane: ControlPlane, flights: str) -> None:
    deploy(plane, spec_of(plane))
    made = predict(plane, flights)
    assert (made["dataset"], made["version"], made["rows"]) == ("scores-production", 1, ROWS)
    check_each_row_once(plane)
    first = table(plane).row(0, named=True)
    assert (first["model"], first["model_version"], first["release"]) == ("late", "1.0.1", RELEASE)
    assert (first["year"], first["month"], first["day"]) == (2013, 1, 1)
    stores = plane.platform.stores
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, subject="scores-production")
        source = next(one for one in read_facts(connection) if one.id == fact.caused_by)
    assert (fact.by, source.body["dataset"], source.body["version"]) == ("bea", "flights", 2)


def test_the_same_again_is_the_same_version(plane: ControlPlane, flights: str) -> None:
    deploy(plane, spec_of(plane))
    first, again = predict(plane, flights), predict(plane, flights, "late")
    assert (first["is_new"], again["is_new"], again["digest"]) == (True, False, first["digest"])
    check_each_row_once(plane)


@pytest.mark.parametrize("moment", range(10))
def test_killed_anywhere_nothing_is_there_twice_and_nothing_is_missing(
    plane: ControlPlane, flights: str, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Before or after each rename of the first portions, and before and after the commit; a
    compaction of the log comes between."""
    monkeypatch.setattr(bulk_job, "PORTION_ROWS", 150)
    deploy(plane, spec_of(plane))
    left = [moment]

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            found = function(*given, **named)
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return found

        return call

    with monkeypatch.context() as patch:
        if moment < 8:
            patch.setattr(Path, "replace", dying(Path.replace))
        else:
            left[0] = moment - 8
            patch.setattr(module, "take_in", dying(module.take_in))
        with pytest.raises(Killed):
            predict(plane, flights)
    compact(plane.platform.stores, "production")
    predict(plane, flights)
    compact(plane.platform.stores, "production")
    check_each_row_once(plane)
    assert list((plane.platform.root / "batch").iterdir()) == []


def test_many_models_answer_by_their_keys(plane: ControlPlane, flights: str) -> None:
    inputs = (Column("hour", "INT64"), Column("carrier", "BYTES", nullable=True))
    members = []
    for key, scale in (("AA", 2.0), ("", 3.0)):
        name = f"late_{key.lower() or 'none'}"
        digest, path = wheel(plane, name, scale)
        members.append(
            Member((key,), name, "1.0.7", digest, digest_of(b"p"), path, "w", name, sys.executable)
        )
    family = Family(("carrier",), inputs, tuple(members), 1 << 30, default="late_none")
    deploy(plane, spec_of(plane, family=family))
    predict(plane, flights)
    found = table(plane)
    assert found["score"].to_list() == [
        n % 12 * (2.0 if n % 2 else 3.0) + (2 if n % 2 else 0) for n in range(ROWS)
    ]
    assert found["model"].to_list()[:2] == ["late_none", "late_aa"]
    logged = read_predictions(plane.platform.stores, "production")
    assert sorted(set(logged["model"])) == ["late_aa", "late_none"]


def test_only_what_is_live_answers(plane: ControlPlane, flights: str) -> None:
    with pytest.raises(NotFound, match="Nothing is live in production"):
        predict(plane, flights)
    deploy(plane, spec_of(plane))
    with pytest.raises(NotFound, match="late-arivals") as caught:
        predict(plane, flights, "late-arivals")
    assert "late-arrival" in caught.value.next_step


def test_altered_bytes_answer_nothing(plane: ControlPlane, flights: str) -> None:
    spec = spec_of(plane)
    deploy(plane, spec)
    path = Path(spec.wheel_path)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DigestMismatch):
        predict(plane, flights)


def test_what_the_endpoint_would_refuse_is_refused_with_its_place(
    plane: ControlPlane, flights: str, tmp_path: Path
) -> None:
    deploy(
        plane,
        spec_of(
            plane,
            signature=Signature(
                (Column("hour", "INT64"), Column("carrier", "BYTES")), (Column("score", "FP64"),)
            ),
        ),
    )
    with pytest.raises(InvalidInput, match=r"flights@2, ds 2013-01-01.*'carrier'.*null"):
        predict(plane, flights)
    deploy(
        plane,
        spec_of(plane, signature=Signature((Column("our", "INT64"),), (Column("score", "FP64"),))),
    )
    with pytest.raises(NotFound, match="our") as caught:
        predict(plane, flights)
    assert "hour" in caught.value.next_step
    deploy(plane, spec_of(plane))
    deliver(plane, tmp_path / "c.csv", range(ROWS, ROWS + 6), lambda n: 13)
    with pytest.raises(MachineryError, match="hour 13"):
        predict(plane, "flights@3")
    with pytest.raises(NotFound):
        find_version(plane.platform.stores, "scores-production")


def test_a_finished_portion_is_not_predicted_again(
    plane: ControlPlane, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_job, "PORTION_ROWS", 150)
    deploy(plane, spec_of(plane))
    done: list[int] = []
    finish = JobFolder.finish

    def finishing(self: JobFolder, portion: Any, *rest: Any) -> None:
        if len(done) == 2:
            raise Killed
        finish(self, portion, *rest)
        done.append(portion.number)

    monkeypatch.setattr(JobFolder, "finish", finishing)
    with pytest.raises(Killed):
        predict(plane, flights)
    monkeypatch.setattr(
        JobFolder,
        "finish",
        lambda self, portion, *rest: (finish(self, portion, *rest), done.append(portion.number)),
    )
    predict(plane, flights)
    assert done == sorted(set(done))
    check_each_row_once(plane)


def ask(plane: ControlPlane, query: str, to: str = "scores", data: str = "flights@2") -> Any:
    named = (plane.platform, "late-arrival", data, to, "production")
    return predict_dataset(*named, by="bea", query=query)


def found_in(plane: ControlPlane, dataset: str = "scores-production") -> pl.DataFrame:
    return read_version(plane.platform.stores, find_version(plane.platform.stores, dataset))


def ask_and_die(
    plane: ControlPlane, query: str, portions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed once so many portions are done."""
    finish, done = JobFolder.finish, []

    def dying(self: JobFolder, portion: Any, *rest: Any) -> None:
        if len(done) == portions:
            raise Killed
        finish(self, portion, *rest)
        done.append(portion.number)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(JobFolder, "finish", dying)
        ask(plane, query)


LATE_ONES = "SELECT *, hour * 2 AS twice FROM flights WHERE hour >= 10 AND flight < 500"


def test_a_query_says_which_rows_and_what_is_kept_beside_the_answers(
    plane: ControlPlane, flights: str
) -> None:
    deploy(plane, spec_of(plane))
    made = ask(plane, LATE_ONES)
    rows = [n for n in range(500) if n % 12 >= 10]
    found = found_in(plane).sort("flight")
    assert found["flight"].to_list() == rows
    assert found["twice"].to_list() == [n % 12 * 2 for n in rows]
    assert found["score"].to_list() == [n % 12 * 0.5 + (2 if n % 2 else 0) for n in rows]
    assert "hour" not in found.columns
    assert made["source"].endswith(f"flights@2: {LATE_ONES}")
    assert found["ds"].n_unique() == 2
    again = ask(plane, LATE_ONES)
    assert (again["is_new"], again["version"]) == (False, made["version"])
    other = ask(plane, LATE_ONES.replace("< 500", "< 400"))
    assert (other["is_new"], other["version"]) == (True, 2)


def test_a_query_over_all_rows_at_once_is_a_table_of_its_own(
    plane: ControlPlane, flights: str
) -> None:
    deploy(plane, spec_of(plane))
    query = "SELECT carrier, max(hour) AS hour, count(*) AS n FROM flights GROUP BY carrier"
    ask(plane, query, to="by-carrier")
    found = found_in(plane, "by-carrier-production").sort("score")
    assert found.select("n", "score").rows() == [(300, 5.0), (300, 7.5)]


def test_a_query_that_was_killed_goes_on_with_the_rows_that_it_had_found(
    plane: ControlPlane, flights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_job, "PORTION_ROWS", 10)
    deploy(plane, spec_of(plane))
    ask_and_die(plane, LATE_ONES, 3, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(bulk_source, "select_frames", None)  # it is not asked again
        ask(plane, LATE_ONES)
    rows = [n for n in range(500) if n % 12 >= 10]
    assert sorted(found_in(plane)["flight"]) == rows
    logged = read_predictions(plane.platform.stores, "production", "late-arrival")
    assert logged.height == len(rows)


def test_what_a_query_found_is_verified_when_it_is_read(
    plane: ControlPlane, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(plane, spec_of(plane))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(module, "answer_all", lambda batch: (_ for _ in ()).throw(Killed))
        ask(plane, LATE_ONES)
    kept = next((plane.platform.root / "batch").glob("*/rows/*.parquet"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestMismatch, match=r"rows 00000\.parquet of the query of flights@2"):
        ask(plane, LATE_ONES)


UNANSWERABLE = [
    ("SELECT * FROM read_csv('/etc/passwd')", "reads 'read_csv'"),
    ("SELECT * FROM flights JOIN flights AS g ON TRUE", "without saying by which columns"),
    ("SELECT * FROM flights JOIN flihgts@1 AS g USING (flight)", "no dataset 'flihgts'.*flights"),
    ("SELECT * FROM flights@1", "reads flights@1, and --data is flights@2"),
    ("SELECT * FROM flights UNION SELECT * FROM flights", "not exactly one SELECT"),
    ("SELECT f.hour, g.hour FROM flights f JOIN flights@1 g USING (flight)", "hour of two tables"),
    ("SELECT * FROM weather", "its dataset is flights"),
    ("SELECT hour FROM flights WHERE hour > 99", "has no rows"),
    ("SELECT hour, nothing FROM flights", "nothing"),
    ("SELECT carrier FROM flights", "The rows have no column 'hour', which late-arrival takes"),
    ("SELECT CAST(hour AS VARCHAR) AS hour, carrier FROM flights", "'hour' is String"),
    ("SELECT hour + 0.5 AS hour, carrier FROM flights", "'hour' is FP64.*takes INT64"),
    ("SELECT hour, carrier, flight AS score FROM flights", "keeps score"),
]


def test_a_query_that_cannot_be_answered_leaves_no_table(plane: ControlPlane, flights: str) -> None:
    deploy(plane, spec_of(plane))
    for query, told in UNANSWERABLE:
        with pytest.raises((InvalidInput, NotFound), match=rf"(?i){told}"):
            ask(plane, query)
    assert list((plane.platform.root / "batch").iterdir()) == []
    with pytest.raises(NotFound):
        found_in(plane)


WINDS = """SELECT f.flight, f.hour, f.carrier, w.wind, f.year, f.month, f.day
FROM flights@2 AS f LEFT JOIN winds@1 AS w ON w.at = f.hour AND w.wind < 20 WHERE f.flight < 50"""


def test_rows_of_several_versions_are_joined(
    plane: ControlPlane, flights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By portions of the first one; what was done is not done again."""
    winds = tmp_path / "winds.csv"
    winds.write_text("at,wind,carrier\n" + "".join(f"{n},{n * 10},w\n" for n in range(4)))
    declared = PROJECT + '\n[datasets.winds]\nkeys = ["at", "wind"]\n'
    apply_project(plane.platform.stores, declared, "seamline.toml", by="ann")
    ingest_delivery(plane.platform, "winds", winds, source="winds", by="ann")
    monkeypatch.setattr(bulk_job, "PORTION_ROWS", 10)
    deploy(plane, spec_of(plane))
    ask_and_die(plane, WINDS, 2, monkeypatch)
    made = ask(plane, WINDS)
    found = found_in(plane).sort("flight")
    assert found["flight"].to_list() == list(range(50))
    assert found["wind"].to_list() == [n % 12 * 10 if n % 12 < 2 else None for n in range(50)]
    logged = read_predictions(plane.platform.stores, "production", "late-arrival")
    assert (logged.height, logged["features"].null_count()) == (50, 0)
    read = [find_version(plane.platform.stores, name) for name in ("flights@2", "winds@1")]
    named = " and ".join(f"{one.reference} ({one.digest})" for one in read)
    assert made["source"].endswith(f"for {named}: {WINDS}")
    assert not ask(plane, WINDS)["is_new"]

    # A row that meets two is answered twice, and only where somebody says so.
    winds.write_text("at,wind,carrier\n0,5,w\n")
    ingest_delivery(plane.platform, "winds", winds, source="more", by="ann")
    twice = WINDS.replace("winds@1", "winds@2")
    with pytest.raises(
        InvalidInput, match=r"10 rows of the query of .*: flight \d+ is there 2 time"
    ):
        ask(plane, twice, to="twice")
    ask(plane, twice.replace("f.flight,", "f.flight AS number,"), to="twice")
    assert found_in(plane, "twice-production").height == 55
    with pytest.raises(InvalidInput, match=r"(?s)wnd.*Did you mean wind\? .*winds@1: at, wind"):
        ask(plane, WINDS.replace("w.wind,", "w.wnd,"))
    with pytest.raises(InvalidInput, match="ambiguous"):
        ask(plane, WINDS.replace("f.carrier", "carrier"))


def test_a_table_that_is_there_already_takes_more_of_its_kind_and_nothing_else(
    plane: ControlPlane, flights: str, tmp_path: Path
) -> None:
    deploy(plane, spec_of(plane))
    predict(plane, "flights@1")
    with pytest.raises(Conflict, match=r"flights-production exists, and has .*hour"):
        apply_project(
            plane.platform.stores, PROJECT + "\n[datasets.flights-production]\n", "b", by="ann"
        )
        other = tmp_path / "other.csv"
        other.write_text("hour\n3\n")
        ingest_delivery(plane.platform, "flights-production", other, source="o", by="ann")
        predict_dataset(plane.platform, "late-arrival", flights, "flights", "production", by="bea")
    deploy(plane, spec_of(plane, scale=0.25), release="sha256:" + "cd" * 32)
    made = predict(plane, flights)
    assert (made["version"], made["rows_added"], made["rows"]) == (2, ROWS, ROWS + ROWS // 2)
    with pytest.raises(InvalidInput, match="into scores-production itself"):
        predict_dataset(
            plane.platform, "late-arrival", "scores-production", "scores", "production", by="bea"
        )


def test_a_model_that_answers_another_number_of_rows_fills_no_table(
    plane: ControlPlane, flights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = MODEL.replace('columns["carrier"])]}', 'columns["carrier"])][1:]}')
    monkeypatch.setitem(globals(), "MODEL", short)
    deploy(plane, spec_of(plane))
    with pytest.raises(MachineryError, match=r"output score has 49 rows for 50 rows"):
        predict(plane, flights)
    with pytest.raises(NotFound):
        found_in(plane)
