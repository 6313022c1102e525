"""What evaluations and back-tests were made on."""

from __future__ import annotations

from sqlalchemy import Connection, Table, select

from seamline.evaluate.rows import BACKTESTS, EVALUATIONS


def versions_of_evaluations(connection: Connection) -> dict[str, str]:
    """References ("NAME@3") → a model version that was evaluated on it."""
    return _versions_of(connection, EVALUATIONS)


def versions_of_backtests(connection: Connection) -> dict[str, str]:
    """The same of back-tests."""
    return _versions_of(connection, BACKTESTS)


def _versions_of(connection: Connection, table: Table) -> dict[str, str]:
    rows = connection.execute(select(table.c.data, table.c.model, table.c.model_version))
    return {row.data: f"{row.model} {row.model_version}" for row in rows if "@" in row.data}
