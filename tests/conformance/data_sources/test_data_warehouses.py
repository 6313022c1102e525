"""BigQuery, Databricks and Snowflake: their own client libraries against doubles of the HTTP calls
that are used. The services themselves were never asked; the docs say so.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from seamline.data.credentials import ANONYMOUS, Credentials
from seamline.data.locations import parse_location
from seamline.data.sources.batches import Delivery
from seamline.data.sources.warehouses.pins import PinKind
from seamline.data.sources.warehouses.reading import pin_table, read_pinned
from seamline.domain.clock import SystemClock
from seamline.domain.errors import InvalidInput, SeamlineError, Unavailable
from seamline.project.plan import apply_project
from seamline.server import ControlPlane
from seamline.store.stores import open_stores
from seamline.trust.secrets import SecretKind, set_values

TOKEN = "hunter22-never-shown"
NOW = "2026-03-02T08:00:00.000000+00:00"
#: (request's path, header, body) → answer's type and body.
Answer = Callable[[str, Any, bytes], tuple[str, bytes]]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            try:
                (kind, data), status = answer(self.path, self.headers, body), 200
            except PermissionError as error:
                told = {"error": {"code": 403, "message": str(error), "errors": []}}
                kind, data, status = "application/json", json.dumps(told).encode(), 403
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def rows_of(delivery: Delivery) -> list[tuple[Any, ...]]:
    return pl.concat([pl.DataFrame(schema=delivery.schema), *delivery.batches()]).rows()


EXPECTED = [
    (1, 1.25, "Ada", True, date(2026, 3, 1), datetime(2026, 3, 1, 8, tzinfo=UTC)),
    (2, None, None, None, None, None),
]


# -- BigQuery ------------------------------------------------------------------------------------
class BigQueryDouble:
    """tables.get and jobs.query of its REST API, version 2; one page of rows each."""

    FIELDS = (
        ("id", "INTEGER"),
        ("price", "NUMERIC"),
        ("who", "STRING"),
        ("paid", "BOOLEAN"),
        ("day", "DATE"),
        ("at", "TIMESTAMP"),
    )

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __call__(self, path: str, headers: Any, body: bytes) -> tuple[str, bytes]:
        if headers["authorization"] != f"Bearer {TOKEN}":
            raise PermissionError(f"the token {headers['authorization']} may not")
        path = path.partition("?")[0]
        if path == "/bigquery/v2/projects/shop/datasets/web/tables/orders":
            answer = {"schema": self._schema(self.FIELDS), "numRows": "99", "type": "TABLE"}
            answer["tableReference"] = {
                "projectId": "shop", "datasetId": "web", "tableId": "orders",
            }  # fmt: skip
        else:
            assert path == "/bigquery/v2/projects/shop/queries", path
            answer = self._query(json.loads(body))
        return "application/json", json.dumps(answer).encode()

    def _query(self, request: dict[str, Any]) -> dict[str, Any]:
        statement = request["query"]
        assert request["useLegacySql"] is False
        self.statements.append(statement)
        rows: list[list[str | None]]
        if "CURRENT_TIMESTAMP" in statement:
            micros = int(datetime.fromisoformat(NOW).timestamp() * 1_000_000)
            fields, rows = (("at", "TIMESTAMP"),), [[str(micros)]]
        elif "COUNT(*)" in statement:
            fields, rows = (("n", "INTEGER"),), [["2"]]
        else:
            micros = int(EXPECTED[0][5].timestamp() * 1_000_000)  # type: ignore[union-attr]
            fields = self.FIELDS  # type: ignore[assignment]
            rows = [["1", "1.25", "Ada", "true", "2026-03-01", str(micros)], ["2", *[None] * 5]]
        return {
            "jobComplete": True,
            "jobReference": {"projectId": "shop", "jobId": "j1", "location": "EU"},
            "schema": self._schema(fields),
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": value} for value in row]} for row in rows],
        }

    def _schema(self, fields: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        made = [{"name": name, "type": kind, "mode": "NULLABLE"} for name, kind in fields]
        return {"fields": made}


@pytest.fixture
def bigquery() -> Iterator[tuple[BigQueryDouble, Credentials]]:
    if find_spec("google.cloud") is None or find_spec("google.cloud.bigquery") is None:
        pytest.skip("google-cloud-bigquery is not installed here")
    double = BigQueryDouble()
    with serving(double) as endpoint:
        yield double, Credentials("wh", {"token": TOKEN, "endpoint": endpoint})


def test_bigquery_is_pinned_by_time(
    bigquery: tuple[BigQueryDouble, Credentials], tmp_path: Path
) -> None:
    double, credentials = bigquery
    location = parse_location("bigquery://shop/web/orders")
    pin = pin_table(location, credentials)
    assert (pin.kind, pin.value, pin.rows) == (PinKind.TIME, NOW, 2)
    assert pin.columns[:2] == (("id", "INTEGER"), ("price", "NUMERIC"))
    at = f"FROM `shop.web.orders` FOR SYSTEM_TIME AS OF TIMESTAMP '{NOW}'"
    assert pin.statement == f"SELECT * {at}"
    assert double.statements[1:] == [f"SELECT COUNT(*) AS n {at}"]
    delivery = read_pinned(location, credentials, pin, tmp_path)
    assert rows_of(delivery) == EXPECTED
    assert double.statements[-1] == pin.statement
    assert delivery.name == f"bigquery://shop/web/orders at time {NOW}"


# -- Databricks ----------------------------------------------------------------------------------
class DatabricksDouble:
    """The Thrift service that its SQL warehouses speak, with the structures of its own client."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self._service = pytest.importorskip("databricks.sql.thrift_api.TCLIService.TCLIService")
        self._t = pytest.importorskip("databricks.sql.thrift_api.TCLIService.ttypes")
        self._protocol = pytest.importorskip("thrift.protocol.TBinaryProtocol").TBinaryProtocol
        self._buffer = pytest.importorskip("thrift.transport.TTransport").TMemoryBuffer
        self._ok = self._t.TStatus(statusCode=self._t.TStatusCode.SUCCESS_STATUS)

    def __call__(self, path: str, headers: Any, body: bytes) -> tuple[str, bytes]:
        if headers["authorization"] != f"Bearer {TOKEN}":
            raise PermissionError(f"the token {headers['authorization']} may not")
        assert path == "/sql/1.0/warehouses/abc", path
        answer = self._buffer()
        self._service.Processor(self).process(
            self._protocol(self._buffer(body)), self._protocol(answer)
        )
        return "application/x-thrift", answer.getvalue()

    def OpenSession(self, _request: Any) -> Any:
        named = self._t.THandleIdentifier(guid=b"1" * 16, secret=b"2" * 16)
        return self._t.TOpenSessionResp(
            status=self._ok,
            serverProtocolVersion=self._t.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7,
            sessionHandle=self._t.TSessionHandle(sessionId=named),
            configuration={},
        )

    def CloseSession(self, _request: Any) -> Any:
        return self._t.TCloseSessionResp(status=self._ok)

    def ExecuteStatement(self, request: Any) -> Any:
        t = self._t
        self.statements.append(request.statement)
        batch, types = self._rows(request.statement)
        columns = [
            t.TColumnDesc(columnName=name, position=at, typeDesc=self._type(kind))
            for at, (name, kind) in enumerate(zip(batch.schema.names, types, strict=True))
        ]
        about = t.TGetResultSetMetadataResp(
            status=self._ok,
            schema=t.TTableSchema(columns=columns),
            resultFormat=t.TSparkRowSetType.ARROW_BASED_SET,
            lz4Compressed=False,
            arrowSchema=batch.schema.serialize().to_pybytes(),
        )
        arrow = [t.TSparkArrowBatch(batch=batch.serialize().to_pybytes(), rowCount=batch.num_rows)]
        rows = t.TRowSet(startRowOffset=0, rows=[], arrowBatches=arrow)
        finished = t.TOperationState.FINISHED_STATE
        direct = t.TSparkDirectResults(
            operationStatus=t.TGetOperationStatusResp(status=self._ok, operationState=finished),
            resultSetMetadata=about,
            resultSet=t.TFetchResultsResp(status=self._ok, hasMoreRows=False, results=rows),
            closeOperation=t.TCloseOperationResp(status=self._ok),
        )
        handle = t.TOperationHandle(
            operationId=t.THandleIdentifier(guid=b"3" * 16, secret=b"4" * 16),
            operationType=t.TOperationType.EXECUTE_STATEMENT,
            hasResultSet=True,
        )
        return t.TExecuteStatementResp(
            status=self._ok, operationHandle=handle, directResults=direct
        )

    def _type(self, kind: int) -> Any:
        entry = self._t.TPrimitiveTypeEntry(type=kind)
        if kind == self._t.TTypeId.DECIMAL_TYPE:
            digits = {"precision": 10, "scale": 2}
            said = {key: self._t.TTypeQualifierValue(i32Value=n) for key, n in digits.items()}
            entry.typeQualifiers = self._t.TTypeQualifiers(qualifiers=said)
        return self._t.TTypeDesc(types=[self._t.TTypeEntry(primitiveEntry=entry)])

    def _rows(self, statement: str) -> tuple[pa.RecordBatch, list[int]]:
        kinds = self._t.TTypeId
        if statement.startswith("DESCRIBE HISTORY"):
            return pa.record_batch({"version": pa.array([7])}), [kinds.BIGINT_TYPE]
        if "COUNT(*)" in statement:
            return pa.record_batch({"n": pa.array([2])}), [kinds.BIGINT_TYPE]
        frame = pl.DataFrame(
            EXPECTED, schema=["id", "price", "who", "paid", "day", "at"], orient="row"
        ).with_columns(pl.col("price").cast(pl.Decimal(10, 2)))
        whole = frame.head(0 if "LIMIT 0" in statement else 2).to_arrow(
            compat_level=pl.CompatLevel.oldest()
        )
        batch = pa.RecordBatch.from_arrays(
            [column.combine_chunks() for column in whole.columns], whole.schema.names
        )
        return batch, [
            *(kinds.BIGINT_TYPE, kinds.DECIMAL_TYPE, kinds.STRING_TYPE),
            *(kinds.BOOLEAN_TYPE, kinds.DATE_TYPE, kinds.TIMESTAMP_TYPE),
        ]


@pytest.fixture
def databricks() -> Iterator[tuple[DatabricksDouble, Credentials]]:
    pytest.importorskip("databricks.sql")
    double = DatabricksDouble()
    with serving(double) as endpoint:
        path = "/sql/1.0/warehouses/abc"
        yield double, Credentials("wh", {"token": TOKEN, "endpoint": endpoint, "http_path": path})


def test_databricks_is_pinned_by_version(
    databricks: tuple[DatabricksDouble, Credentials], tmp_path: Path
) -> None:
    double, credentials = databricks
    location = parse_location("databricks://dbc-1.example/main/web/orders")
    pin = pin_table(location, credentials)
    assert (pin.kind, pin.value, pin.rows) == (PinKind.VERSION, "7", 2)
    assert pin.columns[:2] == (("id", "bigint"), ("price", "decimal"))
    table = "`main`.`web`.`orders`"
    assert pin.statement == f"SELECT * FROM {table} VERSION AS OF 7"
    assert double.statements == [
        f"DESCRIBE HISTORY {table} LIMIT 1",
        f"SELECT * FROM {table} VERSION AS OF 7 LIMIT 0",
        f"SELECT COUNT(*) AS n FROM {table} VERSION AS OF 7",
    ]
    assert rows_of(read_pinned(location, credentials, pin, tmp_path)) == EXPECTED
    assert pin_table(location, credentials).digest == pin.digest, "the same version"


# -- Snowflake -----------------------------------------------------------------------------------
class SnowflakeDouble:
    """Login, query and logout as its connectors ask for them, with rows as JSON."""

    COLUMNS = (
        ("ID", "fixed", 0),
        ("PRICE", "fixed", 2),
        ("WHO", "text", None),
        ("PAID", "boolean", None),
        ("DAY", "date", None),
        ("AT", "timestamp_tz", 9),
    )

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __call__(self, path: str, headers: Any, body: bytes) -> tuple[str, bytes]:
        path = path.partition("?")[0]
        data: Any = None
        success = True
        if path == "/session/v1/login-request":
            success = json.loads(body)["data"]["PASSWORD"] == TOKEN
            data = self._session()
        elif path == "/queries/v1/query-request":
            assert headers["authorization"] == 'Snowflake Token="session"'
            data = self._query(json.loads(body)["sqlText"])
        answer = {"data": data if success else {}, "success": success, "code": None}
        if not success:
            answer |= {"message": "Incorrect username or password", "code": "390100"}
        return "application/json", json.dumps(answer).encode()

    def _session(self) -> dict[str, Any]:
        about = {"databaseName": None, "schemaName": None, "warehouseName": None, "roleName": "R"}
        return {
            "token": "session",
            "masterToken": "master",
            "validityInSeconds": 3600,
            "masterValidityInSeconds": 14400,
            "sessionId": 1,
            "serverVersion": "9.0",
            "parameters": [],
            "sessionInfo": about,
        }

    def _query(self, statement: str) -> dict[str, Any]:
        self.statements.append(statement)
        columns, rows = self.COLUMNS, list[list[str | None]]()
        if "CURRENT_TIMESTAMP" in statement:
            columns, rows = (("AT", "text", None),), [[NOW]]  # type: ignore[assignment]
        elif "COUNT(*)" in statement:
            columns, rows = (("COUNT(*)", "fixed", 0),), [["2"]]  # type: ignore[assignment]
        elif "LIMIT 0" not in statement:
            seconds = int(EXPECTED[0][5].timestamp())  # type: ignore[union-attr]
            days = (EXPECTED[0][4] - date(1970, 1, 1)).days  # type: ignore[operator]
            at = f"{seconds}.000000000 1440"  # minutes of the offset, plus a day's
            rows = [["1", "1.25", "Ada", "1", str(days), at], ["2", *[None] * 5]]
        return {
            "rowtype": [self._column(*column) for column in columns],
            "rowset": rows,
            "total": len(rows),
            "returned": len(rows),
            "queryId": "01",
            "queryResultFormat": "json",
            "parameters": [],
            "statementTypeId": 4096,
            "version": 1,
        }

    def _column(self, name: str, kind: str, scale: int | None) -> dict[str, Any]:
        precision = None if scale is None or kind != "fixed" else 38
        about = {"database": "", "schema": "", "table": "", "length": None, "byteLength": None}
        return {
            **about,
            "name": name,
            "type": kind,
            "scale": scale,
            "precision": precision,
            "nullable": True,
            "collation": None,
        }


@pytest.fixture
def snowflake() -> Iterator[tuple[SnowflakeDouble, Credentials]]:
    pytest.importorskip("snowflake.connector")
    double = SnowflakeDouble()
    with serving(double) as endpoint:
        yield (
            double,
            Credentials("wh", {"user": "ann", "password": TOKEN, "endpoint": endpoint}),
        )


def test_snowflake_is_pinned_by_time(
    snowflake: tuple[SnowflakeDouble, Credentials], tmp_path: Path
) -> None:
    double, credentials = snowflake
    location = parse_location("snowflake://org-account/SHOP/WEB/ORDERS")
    pin = pin_table(location, credentials)
    assert (pin.kind, pin.value, pin.rows) == (PinKind.TIME, NOW, 2)
    assert pin.columns[:3] == (("ID", "NUMBER"), ("PRICE", "NUMBER(38,2)"), ("WHO", "TEXT"))
    table = f'"SHOP"."WEB"."ORDERS" AT(TIMESTAMP => \'{NOW}\'::TIMESTAMP_TZ)'
    assert pin.statement == f"SELECT * FROM {table}"
    assert [one for one in double.statements if "ORDERS" in one] == [
        f"SELECT * FROM {table} LIMIT 0",
        f"SELECT COUNT(*) FROM {table}",
    ]
    assert rows_of(read_pinned(location, credentials, pin, tmp_path)) == EXPECTED


# -- all -----------------------------------------------------------------------------------------
TABLES = {
    "bigquery": "bigquery://shop/web/orders",
    "databricks": "databricks://dbc-1.example/main/web/orders",
    "snowflake": "snowflake://org-account/SHOP/WEB/ORDERS",
}


@pytest.mark.parametrize("kind", TABLES)
def test_what_is_refused_is_told_without_the_secret(
    kind: str, request: pytest.FixtureRequest
) -> None:
    _, right = request.getfixturevalue(kind)
    wrong = {
        key: f"{TOKEN}-wrong" if value == TOKEN else value for key, value in right.values.items()
    }
    with pytest.raises(Unavailable, match="cannot be read") as found:
        pin_table(parse_location(TABLES[kind]), Credentials("wh", wrong))
    assert TOKEN not in str(found.value)
    assert found.value.__cause__ is None


@pytest.mark.parametrize("kind", TABLES)
def test_what_lacks_is_named(kind: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(kind)
    with pytest.raises(InvalidInput, match=r"lack the key (service_account_key|http_path|user)"):
        pin_table(parse_location(TABLES[kind]), ANONYMOUS)
    host = re.sub(r"/[^/]+$", "", TABLES[kind])
    with pytest.raises(InvalidInput, match="names no table"):
        pin_table(parse_location(host), ANONYMOUS)
    with pytest.raises(InvalidInput, match="names no table"):
        pin_table(parse_location(f"{host}/orders` WHERE 1=1 --"), ANONYMOUS)


def test_a_library_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.bigquery", None)
    with pytest.raises(SeamlineError, match=r"pip install 'seamline\[bigquery\]'"):
        pin_table(parse_location(TABLES["bigquery"]), ANONYMOUS)


def test_a_dataset_is_pinned_and_copied_when_that_is_asked(
    databricks: tuple[DatabricksDouble, Credentials],
    plane: ControlPlane,
    ask: Callable[..., Any],
    declare: Callable[[str], None],
) -> None:
    _, credentials = databricks
    uri = TABLES["databricks"]
    keys = {"values": {"uri": uri, **credentials.values}}
    assert ask("/environments/dataops/secrets/wh", keys).status_code == 200
    section = f'[datasets.orders]\nsource = "{uri}"\ncredentials = "wh"\n'
    declare(section)
    first = ask("/datasets/orders/pins", {}).json()
    assert (first["number"], first["value"], first["rows"], first["is_new"]) == (1, "7", 2, True)
    assert ask("/datasets/orders/pins", {}).json() == {**first, "is_new": False}
    assert ask("/datasets").json() == [], "nothing was copied"
    assert "rows would come twice" in ask("/datasets/orders/pins", {"copy_rows": True}).text
    assert "seamline data pin orders" in ask("/datasets/orders/ingests", {}).text
    declare(f'{section}mode = "replace"\n')
    copied = ask("/datasets/orders/pins", {"copy_rows": True}).json()["version"]
    assert (copied["version"], copied["rows"], copied["is_new"]) == (1, 2, True)
    assert copied["source"] == f"{uri} at version 7"
    again = ask("/datasets/orders/pins", {"copy_rows": True}).json()["version"]
    assert (again["version"], again["is_new"]) == (1, False)
    assert [one["number"] for one in ask("/datasets/orders/pins").json()] == [1]
    facts = plane.platform.stores.root.rglob("*")
    told = [path for path in facts if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert told == []


def test_the_command_line_says_what_was_pinned(
    databricks: tuple[DatabricksDouble, Credentials], tmp_path: Path
) -> None:
    _, credentials = databricks
    uri = TABLES["databricks"]
    stores = open_stores(tmp_path / ".seamline", SystemClock())
    values = {"uri": uri, **credentials.values}
    given = {key: value.encode() for key, value in values.items()}
    set_values(stores, "dataops", SecretKind.SECRET, "wh", given, by="ada")
    section = f'[datasets.orders]\nsource = "{uri}"\ncredentials = "wh"\nmode = "replace"\n'
    whole = f'project = "shop"\nteam = "shop"\n{section}'
    apply_project(stores, whole, "seamline.toml", by="ada")
    stores.db.close()

    def run(*words: str) -> str:
        program = Path(sys.executable).with_name("seamline")
        done = subprocess.run(
            [program, "data", *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout + done.stderr

    pinned = run("pin", "orders", "--copy")
    assert f"{uri} is pinned as orders pin 1: version 7, 2 rows" in pinned
    assert "SELECT * FROM `main`.`web`.`orders` VERSION AS OF 7" in pinned
    assert "orders@1 committed 2 rows" in pinned
    assert "version  7" in run("pins", "orders")
    assert "seamline data pin orders" in run("ingest", "orders")
