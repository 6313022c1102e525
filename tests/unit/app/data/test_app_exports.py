"""Exports over HTTP: who may send what where, and that the rows arrive."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pyarrow as pa
import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.states import Role
from seamline.serve.log.prediction_log import FOLDER, SCHEMA
from seamline.serve.log.tables import log_table
from seamline.server import ControlPlane
from seamline.store.facts import read_facts
from seamline.store.tables import append_frame
from seamline.trust.principals import add_principal
from seamline.trust.secrets import SecretKind, set_values

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    def send(method: str, path: str, body: Any = None, *roles: Role) -> httpx.Response:
        stores, headers = plane.platform.stores, {}
        if roles:
            with stores.db.transaction() as tx:
                who = f"who-{len(list(read_facts(tx)))}"
                token = add_principal(tx, stores.facts, stores.clock, who, frozenset(roles), by="r")
            headers = {"Authorization": f"Bearer {token}"}

        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, f"/api/v1{path}", json=body, headers=headers)

        return asyncio.run(one())

    return send


@pytest.fixture
def calls(plane: ControlPlane, tmp_path: Path) -> str:
    path = tmp_path / "calls.csv"
    path.write_text("id,at\n1,2025-03-01T08:00:00Z\n2,2025-03-02T08:00:00Z\n")
    declaration = DatasetDeclaration("calls", time="at")
    ingest(plane.platform.stores, declaration, path, source="calls.csv", by="ada")
    return "calls@1"


def test_a_version_leaves_once(plane: ControlPlane, ask: Ask, calls: str, tmp_path: Path) -> None:
    place = {"to": f"file://{tmp_path}/out.parquet"}
    first = ask("POST", f"/datasets/{calls}/exports", place)
    assert first.status_code == 200, first.text
    assert first.json() | {"digest": ""} == {
        "what": "calls@1",
        "digest": "",
        "target": place["to"],
        "form": "file",
        "rows": 2,
        "is_new": True,
    }
    assert pl.read_parquet(tmp_path / "out.parquet")["id"].to_list() == [1, 2]
    again = ask("POST", f"/datasets/{calls}/exports", place)
    assert again.json() == {**first.json(), "is_new": False}
    assert list((plane.platform.root / "incoming").iterdir()) == []


def test_a_folder_has_the_versions_own_bytes(
    plane: ControlPlane, ask: Ask, calls: str, tmp_path: Path
) -> None:
    answer = ask("POST", f"/datasets/{calls}/exports", {"to": f"file://{tmp_path}/out"})
    assert answer.json()["form"] == "folder"
    table = plane.platform.root / "tables" / "calls"
    there = {path.read_bytes() for path in (tmp_path / "out").rglob("*.parquet")}
    assert there == {path.read_bytes() for path in table.rglob("*.parquet")}
    some = {"to": f"file://{tmp_path}/some", "since": "2025-03-02", "until": "2025-03-03"}
    assert ask("POST", f"/datasets/{calls}/exports", some).json()["rows"] == 1


def test_an_altered_file_does_not_leave(
    plane: ControlPlane, ask: Ask, calls: str, tmp_path: Path
) -> None:
    file = next((plane.platform.root / "tables" / "calls").rglob("*.parquet"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    answer = ask("POST", f"/datasets/{calls}/exports", {"to": f"file://{tmp_path}/out.csv"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "digest_mismatch"
    assert not (tmp_path / "out.csv").exists()


def test_who_may_send_rows_where(plane: ControlPlane, ask: Ask, calls: str, tmp_path: Path) -> None:
    path = f"/datasets/{calls}/exports"
    here = {"to": f"file://{tmp_path}/out.csv"}
    assert ask("POST", path, here, Role.VIEWER).status_code == 403
    refused = ask("POST", path, here, Role.DEVELOPER)
    assert refused.status_code == 403 and "only an admin" in refused.text
    inside = {"to": f"file://{plane.platform.root}/keys/out.csv"}
    refused = ask("POST", path, inside)
    assert refused.status_code == 403 and "in the workspace itself" in refused.text
    # In another environment its secrets are used: that is for those who release to it.
    there = {"to": "postgresql://db.example/w", "table": "calls", "environment": "production"}
    assert "may not release" in ask("POST", path, there, Role.DEVELOPER).text
    assert (
        "no environment 'prodution'" in ask("POST", path, there | {"environment": "prodution"}).text
    )


def test_credentials_do_not_go_elsewhere(plane: ControlPlane, ask: Ask, calls: str) -> None:
    values = {"uri": b"postgresql://db.example/w", "password": b"hunter22"}
    set_values(plane.platform.stores, "dataops", SecretKind.SECRET, "wh", values, by="ada")
    place = {"to": "postgresql://127.0.0.1:9/w", "table": "calls", "credentials": "wh"}
    answer = ask("POST", f"/datasets/{calls}/exports", place, Role.DEVELOPER)
    assert "is for postgresql://db.example/w, not for" in answer.text
    assert "hunter22" not in answer.text


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"to": "postgresql://ann:hunter22@db/w", "table": "t"}, "cannot hold a password"),
        ({"to": "postgresql://db/w"}, "needs a table"),
        ({"to": "s3://lake/x", "table": "t"}, "is no database"),
        ({"to": "s3://lake"}, "names no file or folder"),
        ({"to": "s3://lake/x.xlsx", "form": "file"}, "does not say which format"),
        ({"to": "s3://lake/x", "form": "table"}, "cannot hold a table"),
        ({"to": "bigquery://shop/web/orders"}, "Export as delta"),
        ({"to": "s3://lake/x", "credentials": "none"}, "There is no secret"),
    ],
)
def test_places_that_cannot_be(ask: Ask, calls: str, place: dict[str, str], says: str) -> None:
    answer = ask("POST", f"/datasets/{calls}/exports", place)
    assert answer.status_code in (400, 404, 409, 422), answer.text
    assert says in answer.text
    assert "hunter22" not in answer.text


def predictions(*ids: int) -> pl.DataFrame:
    rows = [
        {
            "prediction_id": f"p{one}",
            "row": 0,
            "at": datetime(2025, 3, one, tzinfo=UTC),
            "ds": date(2025, 3, one),
            "environment": "production",
            "endpoint": "late",
            "outputs": '{"score": 0.5}',
        }
        for one in ids
    ]
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=SCHEMA))


def test_predictions_leave(plane: ControlPlane, ask: Ask, tmp_path: Path) -> None:
    table = log_table(plane.platform.root, FOLDER, "production")
    table.parent.mkdir(parents=True)
    append_frame(table, predictions(1, 2, 3), "ds")
    place = {"to": f"sqlite://{tmp_path}/out.db", "table": "predictions"}
    answer = ask("POST", "/endpoints/late/exports", place | {"environment": "production"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["what"] == "predictions of late in production"
    window = place | {"environment": "production", "since": "2025-03-02", "until": "2025-03-03"}
    assert ask("POST", "/endpoints/late/exports", window).json()["rows"] == 1
    with sqlite3.connect(tmp_path / "out.db") as connection:
        ids = connection.execute("SELECT prediction_id FROM predictions ORDER BY 1").fetchall()
    connection.close()
    assert ids == [("p1",), ("p2",), ("p3",)]
    assert "No predictions of late" in ask("POST", "/endpoints/late/exports", place).text
