from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, text

import seamline.server  # noqa: F401 (loads every room's tables)
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Refused
from seamline.store.migrate import REVISIONS, migrate, upgrade_to
from seamline.store.schema import METADATA
from seamline.store.stores import Stores, open_stores


def test_migrations_make_exactly_the_declared_tables(stores: Stores) -> None:
    rewind(stores, REVISIONS[-1])  # the fixture's may be a copy
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


def rewind(stores: Stores, revision: str) -> None:
    """The database as that revision made it, empty."""
    with stores.db.transaction() as tx:
        found = MetaData()
        found.reflect(tx)
        found.drop_all(tx)
    upgrade_to(stores.db, revision)


def insert_texts(stores: Stores, table: str, **values: str | int) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    with stores.db.transaction() as tx:
        tx.execute(text(f"INSERT INTO {table} ({names}) VALUES ({marks})"), values)


def test_models_of_earlier_workspaces_stand_for_themselves(stores: Stores) -> None:
    rewind(stores, "0004")
    texts = ("model", "version", "filename", "wheel_digest", "payload_digest", "statement_digest")
    texts += ("run_id", "document", "dataset_versions", "registered_by", "registered_at")
    insert_texts(stores, "model_versions", **{name: name for name in texts})
    migrate(stores.db)
    with stores.db.read() as connection:
        found = connection.execute(text("SELECT family FROM model_versions")).scalar_one()
    assert found == "model"


def test_pipelines_of_earlier_workspaces_belong_to_who_published_first(stores: Stores) -> None:
    rewind(stores, "0005")
    published = (("ann", "2026-01-02"), ("ada", "2026-01-01"), ("bob", "2026-01-03"))
    for by, at in published:
        row = {"digest": f"sha256:{by}", "published_by": by, "published_at": at}
        for repository in ("default/main", "team/two")[: 1 if by == "ada" else 2]:
            insert_texts(
                stores,
                "pipeline_versions",
                repository=repository,
                package="training",
                size_bytes=1,
                **row,
            )
    migrate(stores.db)
    with stores.db.read() as connection:
        rows = connection.execute(
            text("SELECT repository, owner, team FROM pipeline_names ORDER BY repository")
        ).all()
    assert [tuple(row) for row in rows] == [
        ("default/main", "ada", None),
        ("team/two", "ann", None),
    ]


def test_who_had_a_role_goes_on_to_have_it_everywhere(stores: Stores) -> None:
    rewind(stores, "0017")
    for name, roles in (("ada", "developer,approver"), ("eve", "")):
        insert_texts(stores, "principals", name=name, roles=roles, created_at="2026-01-01")
    migrate(stores.db)
    with stores.db.read() as connection:
        rows = connection.execute(text("SELECT * FROM grants ORDER BY role")).all()
        names = connection.execute(text("SELECT name FROM principals ORDER BY name")).scalars()
        assert names.all() == ["ada", "eve"]
    assert [tuple(row) for row in rows] == [
        ("ada", "approver", "", "", "2026-01-01"),
        ("ada", "developer", "", "", "2026-01-01"),
    ]
