from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

import seamline.server  # noqa: F401 (loads every room's tables)
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Refused
from seamline.store.migrate import migrate
from seamline.store.schema import METADATA
from seamline.store.stores import Stores, open_stores


def test_migrations_make_exactly_the_declared_tables(stores: Stores) -> None:
    with stores.db.read() as connection:
        found = compare_metadata(MigrationContext.configure(connection), METADATA)
    assert found == []


def test_opening_again_changes_nothing(stores: Stores, tmp_path: Path) -> None:
    again = open_stores(tmp_path / "workspace", ManualClock(), database_url=stores.db.url)
    again.db.close()


def test_a_workspace_of_a_newer_version_is_refused(stores: Stores) -> None:
    with stores.db.transaction() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Refused, match="schema revision 9999"):
        open_stores(stores.root, ManualClock(), database_url=stores.db.url)


def test_models_of_earlier_workspaces_stand_for_themselves(stores: Stores) -> None:
    texts = ("model", "version", "filename", "wheel_digest", "payload_digest", "statement_digest")
    texts += ("run_id", "document", "dataset_versions", "registered_by", "registered_at")
    with stores.db.transaction() as tx:
        tx.execute(text("DROP INDEX ix_model_versions_family"))
        tx.execute(text("ALTER TABLE model_versions DROP COLUMN family"))
        tx.execute(text("UPDATE alembic_version SET version_num = '0004'"))
        values = ", ".join(f"'{name}'" for name in texts)
        tx.execute(text(f"INSERT INTO model_versions ({', '.join(texts)}) VALUES ({values})"))
    migrate(stores.db)
    with stores.db.read() as connection:
        found = connection.execute(text("SELECT family FROM model_versions")).scalar_one()
    assert found == "model"
