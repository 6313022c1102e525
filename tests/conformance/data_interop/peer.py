"""Runs in an engine's own environment: `peer.py duckdb|sail|MASTER`. One order a line, as JSON, on
stdin; one answer a line on stdout: rows, and the columns with the engine's names of their types.

Knows nothing of Seamline. Sail is asked by Spark's own client, through Spark Connect; every other
word but `duckdb` is the master URL of Apache Spark.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

Order = dict[str, Any]
Answer = dict[str, Any]


def shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def answer(columns: Iterable[tuple[str, str]], rows: Iterable[dict[str, Any]]) -> Answer:
    told = [{name: shown(value) for name, value in row.items()} for row in rows]
    return {"columns": [list(one) for one in columns], "rows": told}


def duckdb() -> Callable[[Order], Answer]:
    import duckdb
    import duckdb_extension_delta

    (extension,) = Path(duckdb_extension_delta.__path__[0]).rglob("delta.duckdb_extension")
    connection = duckdb.connect()
    connection.load_extension(str(extension))
    connection.sql("SET TimeZone = 'UTC'")

    def ask(order: Order) -> Answer:
        version = "" if order.get("version") is None else f", version = {order['version']}"
        source = (
            f"delta_scan('{order['table']}'{version})"
            if order["do"] == "delta"
            else f"read_parquet('{order['table']}/**/*.parquet', hive_partitioning = true)"
        )
        found = connection.sql(f"SELECT * FROM {source} WHERE {order.get('where', 'true')}")
        types = [str(one) for one in found.types]
        return answer(zip(found.columns, types, strict=True), found.to_arrow_table().to_pylist())

    return ask


def spark(session: Any) -> Callable[[Order], Answer]:
    """Spark's API, whoever answers it."""

    def ask(order: Order) -> Answer:
        if order["do"] == "write":
            made = session.read.parquet(order["rows"])
            made.write.format(order["form"]).mode("append").save(order["table"])
            return answer((), ())
        version = order.get("version")
        options = {} if version is None else {"versionAsOf": str(version)}
        found = session.read.format(order["do"]).options(**options).load(order["table"])
        found = found.where(order.get("where", "true"))
        return answer(found.dtypes, (row.asDict() for row in found.collect()))

    return ask


def open_sail() -> Any:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    host, port = server.listening_address
    session = SparkSession.builder.remote(f"sc://{host}:{port}").getOrCreate()
    session.server = server  # it ends where nobody holds it
    return session


def open_spark(master: str) -> Any:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master).appName("seamline-interop")
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.cores.max": "1",
        "spark.executor.memory": "512m",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def main(engine: str) -> None:
    os.environ["TZ"] = "UTC"  # Spark hands out local times
    time.tzset()
    # Whatever libraries print goes to stderr; only answers go to whoever asked.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if engine == "duckdb":
        ask = duckdb()
    else:
        ask = spark(open_sail() if engine == "sail" else open_spark(engine))
    for line in sys.stdin:
        try:
            told = ask(json.loads(line))
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
