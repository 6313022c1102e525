"""What registered models were made from: which dataset versions, by which runs."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select

from seamline.register.rows import MODEL_VERSIONS


def versions_of_models(connection: Connection) -> dict[str, str]:
    """References ("NAME@3") → a model version that was trained on it."""
    table = MODEL_VERSIONS
    rows = connection.execute(select(table.c.model, table.c.version, table.c.dataset_versions))
    return {
        reference: f"{row.model} {row.version}"
        for row in rows
        for reference in json.loads(row.dataset_versions)
    }


def runs_of_models(connection: Connection) -> set[str]:
    return set(connection.execute(select(MODEL_VERSIONS.c.run_id)).scalars())
