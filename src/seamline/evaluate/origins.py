"""What evaluations were made on."""

from __future__ import annotations

from sqlalchemy import Connection, select

from seamline.evaluate.rows import EVALUATIONS


def versions_of_evaluations(connection: Connection) -> dict[str, str]:
    """References ("NAME@3") → a model version that was evaluated on it."""
    table = EVALUATIONS
    rows = connection.execute(select(table.c.data, table.c.model, table.c.model_version))
    return {row.data: f"{row.model} {row.model_version}" for row in rows if "@" in row.data}
