"""Versions stay what they are, whatever is done after; retention removes what nothing needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection

from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.materialize import materialize
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import plan_table, vacuum_table
from seamline.data.versions import (
    DatasetVersion,
    read_version,
    show_version,
    table_folder,
    version_files,
)
from seamline.data.versions.tags import delete_tag, tag_version
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Refused
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores, open_stores

ONE = RetentionDeclaration(keep_versions=1)
CALLS = DatasetDeclaration("calls", time="at", mode=Mode.REPLACE)


def nobody(connection: Connection) -> Mapping[str, str]:
    return {}


def later() -> ManualClock:
    """Files bear the machine's time: to this clock they are old."""
    return ManualClock(datetime.now(UTC) + timedelta(days=2))


def deliver(stores: Stores, folder: Path, ids: range, mode: Mode = Mode.REPLACE) -> DatasetVersion:
    path = folder / f"{ids.start}-{ids.stop}-{mode}.csv"
    rows = [f"{n},2013-01-{1 + n % 3:02}T12:00:00Z" for n in ids]
    path.write_text("id,at\n" + "\n".join(rows) + "\n")
    declared = dataclasses.replace(CALLS, mode=mode)
    return ingest(stores, declared, path, source=path.name, by="ada").version


def vacuum(stores: Stores, rule: RetentionDeclaration | None = ONE, **needed: str) -> list[int]:
    """The versions whose rows are gone."""
    named = {f"calls@{key.removeprefix('v')}": why for key, why in needed.items()}
    now = stores.clock.now()
    plan = vacuum_table(stores, "calls", rule, lambda tx: named, now, by="ada")
    return sorted(plan.removable)


@pytest.fixture
def old(tmp_path: Path) -> Stores:
    return open_stores(tmp_path / "workspace", later())


def ids(stores: Stores, version: DatasetVersion) -> list[int]:
    return sorted(read_version(stores, version)["id"])


def test_only_the_rows_that_nothing_needs_go(old: Stores, tmp_path: Path) -> None:
    made = [deliver(old, tmp_path, range(n * 10, n * 10 + 9)) for n in range(4)]
    tag_version(old, made[1], "golden", by="ada")
    plan = plan_table(old, "calls", ONE, lambda tx: {"calls@3": "release v1"}, old.clock.now())
    assert plan.kept == {2: "tag golden", 3: "release v1", 4: "it is the newest"}
    assert list(plan.removable) == [1]
    assert {file.versions for file in plan.files} == {(1,)}
    assert ids(old, made[0]) == list(range(9))  # a plan changes nothing

    assert vacuum(old, v3="release v1") == [1]
    gone = plan_table(old, "calls", ONE, lambda tx: {}, old.clock.now()).removable
    assert gone[1] == "retention of calls: keep_versions 1"
    with pytest.raises(Refused, match=r"The rows of calls@1 were removed .* by ada"):
        read_version(old, made[0])
    with pytest.raises(Refused, match="calls@1 were removed"):
        materialize(old, made[0], tmp_path / "run")
    assert [ids(old, one) for one in made[1:]] == [
        list(range(n * 10, n * 10 + 9)) for n in (1, 2, 3)
    ]
    assert show_version(old, made[0])["rows"] == 9  # what it was stays known
    with old.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.rows_removed"])
        assert verify_chain(connection).broken is None
    assert (fact.by, fact.body["version"]) == ("ada", 1)
    delete_tag(old, "calls", "golden", by="ada")
    assert vacuum(old, v3="release v1") == [1, 2]
    assert vacuum(old, v3="release v1") == [1, 2]  # again, nothing more


def test_without_a_rule_nothing_goes(old: Stores, tmp_path: Path) -> None:
    made = [deliver(old, tmp_path, range(n * 10, n * 10 + 9)) for n in range(3)]
    assert vacuum(old, None) == []
    assert [len(ids(old, one)) for one in made] == [9, 9, 9]


def test_young_versions_stay(old: Stores, tmp_path: Path) -> None:
    for n in range(3):
        deliver(old, tmp_path, range(n * 10, n * 10 + 9))
    rule = RetentionDeclaration(keep_for="7d")
    assert vacuum(old, rule) == []
    clock = old.clock
    assert isinstance(clock, ManualClock)
    clock.advance(8 * 86_400)
    assert vacuum(old, rule) == [1, 2]


def test_rows_that_a_later_version_also_has_stay(old: Stores, tmp_path: Path) -> None:
    made = [deliver(old, tmp_path, range(n * 10, n * 10 + 9), Mode.APPEND) for n in range(3)]
    files = version_files(old, made[-1])
    assert vacuum(old) == [1, 2]
    assert ids(old, made[2]) == [n * 10 + k for n in range(3) for k in range(9)]
    assert all((table_folder(old, "calls") / file.relative).is_file() for file in files)
    # What is said to be gone is gone, and not there as long as another version has the same files.
    with pytest.raises(Refused, match="The rows of calls@1 were removed"):
        read_version(old, made[0])
    with pytest.raises(Refused, match="The rows of calls@1 were removed"):
        materialize(old, made[0], tmp_path / "run")


def test_left_over_files_go_and_what_is_being_written_stays(old: Stores, tmp_path: Path) -> None:
    made = deliver(old, tmp_path, range(9))
    file = table_folder(old, "calls") / version_files(old, made)[0].relative
    left = file.with_name("left-over.parquet")
    left.write_bytes(b"a killed writer's")
    recent = datetime.now(UTC) - timedelta(hours=1)
    assert plan_table(old, "calls", ONE, nobody, recent).files == ()
    vacuum(old)
    assert not left.exists() and file.exists()


def test_killed_between_the_record_and_the_files_the_next_time_ends_it(
    old: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [deliver(old, tmp_path, range(n * 10, n * 10 + 9)) for n in range(2)]

    def killed(self: Path, missing_ok: bool = False) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            vacuum(old)
    paths = [table_folder(old, "calls") / file.relative for file in version_files(old, made[0])]
    assert all(path.exists() for path in paths)
    vacuum(old)
    assert not any(path.exists() for path in paths)
    assert ids(old, made[1]) == list(range(10, 19))
