"""Whatever is done to a dataset, each of its versions stays what it was: its rows, its profile, its
splits; or retention has removed its rows, and says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from seamline.app.data.collect_garbage import (
    GarbageKind,
    GarbageOrder,
    GarbagePlan,
    Item,
    apply_garbage,
    plan_garbage,
)
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.diff.findings import Change
from seamline.data.diff.stored import compare_stored
from seamline.data.ingest import IngestResult, Stage, ingest
from seamline.data.materialize import materialize
from seamline.data.splits.definition import SplitBy, SplitsDeclaration
from seamline.data.splits.read import Split, find_split, read_split_frames
from seamline.data.versions import (
    DatasetVersion,
    find_version,
    list_versions,
    read_version,
    table_folder,
    version_basis,
    version_profile,
    version_profiles_by_day,
)
from seamline.data.versions.tags import delete_tag, tag_version
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, Refused
from seamline.measure.contracts import Policy
from seamline.measure.profiles import profile_frame, sum_profiles
from seamline.project.plan import apply_project
from seamline.server import ControlPlane
from seamline.store.facts import verify_chain

KEPT_VERSIONS = 1
PROJECT = """
project = "calls"
team = "ada"

[datasets.{name}]
time = "at"
keys = ["id"]
retention = {{ keep_versions = 1 }}
"""
TAGS = ("golden", "audited")
SPLITS = ("train", "test")
#: Texts that a column of numbers cannot hold; a number is written as Polars writes it.
TEXTS = ("n/a!", "12,50")
MINUTES = st.integers(0, 30).map(lambda n: f"{n}.5")
#: Of each row its day and its minutes; the ids go on from delivery to delivery.
ROWS = st.lists(st.tuples(st.integers(1, 5), MINUTES | st.sampled_from(TEXTS)), min_size=1)
MODES = st.sampled_from([Mode.APPEND, Mode.APPEND, Mode.REPLACE])
POLICIES = st.sampled_from([Policy.REFUSE, Policy.QUARANTINE, Policy.WARN])
NUMBERS = st.integers(0, 99)

#: id → (day, minutes as delivered).
Rows = dict[int, tuple[int, str]]


@dataclass
class Expected:
    """What a version is, told from the deliveries alone; and its rows as they were first read."""

    version: DatasetVersion
    rows: Rows
    is_text: bool
    frame: pl.DataFrame
    path: Path
    mode: Mode
    splits: dict[str, tuple[Split, list[int]]] = field(default_factory=dict)


class Dies(Exception):
    """Whoever brings the delivery is gone."""


class Dataset(RuleBasedStateMachine):
    def __init__(self, plane: ControlPlane, numbers: Iterator[int]) -> None:
        super().__init__()
        self.platform = plane.platform
        self.stores = plane.platform.stores
        # A dataset for each example: the workspace is the same for all of them.
        self.name = f"calls-{next(numbers)}"
        self.declared = DatasetDeclaration(self.name, time="at", keys=("id",))
        self.known: dict[int, Expected] = {}
        self.gone: set[int] = set()
        self.tags: dict[str, int] = {}
        self.n_ids = self.n_files = 0

    # -- deliveries ---------------------------------------------------------------------------
    @initialize(rows=st.lists(st.tuples(st.integers(1, 5), MINUTES), min_size=1))
    def first(self, rows: list[tuple[int, str]]) -> None:
        apply_project(self.stores, PROJECT.format(name=self.name), "seamline.toml", by="ada")
        self.deliver(rows, Mode.APPEND, Policy.REFUSE)

    @rule(rows=ROWS, mode=MODES, policy=POLICIES)
    def deliver(self, rows: list[tuple[int, str]], mode: Mode, policy: Policy) -> None:
        path, delivered = self.write(rows)
        good = {n: row for n, row in delivered.items() if row[1] not in TEXTS}
        is_broken = len(good) < len(delivered)
        if is_broken and (policy is Policy.REFUSE or (policy is Policy.QUARANTINE and not good)):
            with pytest.raises(Refused):
                self.ingest(path, mode, policy)
            return
        made = self.ingest(path, mode, policy)
        assert made.is_new and made.version.version == len(self.known) + 1
        before = self.known[len(self.known)] if self.known and mode is Mode.APPEND else None
        taken = good if policy is Policy.QUARANTINE else delivered
        assert made.version.rows_quarantined == len(delivered) - len(taken)
        self.known[made.version.version] = Expected(
            made.version,
            taken if before is None else before.rows | taken,
            (is_broken and policy is Policy.WARN) or (before is not None and before.is_text),
            read_version(self.stores, made.version),
            path,
            mode,
        )

    @rule(
        rows=ROWS,
        mode=MODES,
        stage=st.sampled_from([Stage.READING, Stage.WRITING, Stage.COMMITTING]),
    )
    def deliver_and_die(self, rows: list[tuple[int, str]], mode: Mode, stage: Stage) -> None:
        def tell(reached: Stage, done: int, total: int | None) -> None:
            if reached is stage:
                raise Dies

        path, _ = self.write(rows)
        with pytest.raises(Dies):
            self.ingest(path, mode, Policy.WARN, progress=tell)

    @rule(number=NUMBERS)
    def deliver_again(self, number: int) -> None:
        """Its rows are taken in again only where a newer table has none of them."""
        found = self.choose(number)
        replaced = [one for one, known in self.known.items() if known.mode is Mode.REPLACE]
        if found.version.version >= max(replaced, default=0):
            made = self.ingest(found.path, Mode.APPEND, Policy.REFUSE)
            assert (made.is_new, made.version) == (False, found.version)

    def ingest(self, path: Path, mode: Mode, policy: Policy, **more: Any) -> IngestResult:
        declared = dataclasses.replace(self.declared, mode=mode, on_breach=policy)
        return ingest(self.stores, declared, path, source=path.name, by="ada", **more)

    def write(self, rows: list[tuple[int, str]]) -> tuple[Path, Rows]:
        delivered = {self.n_ids + place: row for place, row in enumerate(rows)}
        self.n_ids, self.n_files = self.n_ids + len(rows), self.n_files + 1
        lines = [f'{n},2013-01-0{day}T12:00:00Z,"{text}"' for n, (day, text) in delivered.items()]
        path = self.stores.root.parent / f"{self.name}-{self.n_files}.csv"
        path.write_text("\n".join(["id,at,minutes", *lines]) + "\n")
        return path, delivered

    def choose(self, number: int) -> Expected:
        return self.known[1 + number % len(self.known)]

    # -- names, parts, folders ----------------------------------------------------------------
    @rule(number=NUMBERS, tag=st.sampled_from(TAGS))
    def tag(self, number: int, tag: str) -> None:
        version = self.choose(number).version
        if version.version in self.gone:
            with pytest.raises(Refused, match="cannot be tagged"):
                tag_version(self.stores, version, tag, by="ada")
        else:
            tag_version(self.stores, version, tag, by="ada")
            self.tags[tag] = version.version
            assert find_version(self.stores, f"{self.name}@{tag}") == version

    @precondition(lambda self: self.tags)
    @rule()
    def untag(self) -> None:
        tag, _ = self.tags.popitem()
        delete_tag(self.stores, self.name, tag, by="ada")

    @rule(number=NUMBERS, seed=st.integers(0, 3))
    def split(self, number: int, seed: int) -> None:
        """Whatever is declared meanwhile (another seed), the first use fixes them."""
        found = self.choose(number)
        if found.version.version in self.gone:
            return
        shares = {"train": 0.5, "test": 0.5}
        splits = SplitsDeclaration(SplitBy.KEY, shares, keys=("at",), seed=seed)
        declared = dataclasses.replace(self.declared, splits=splits)
        for name in SPLITS:
            split = find_split(self.stores, found.version, name, declared, by="ada")
            ids = split_ids(self, split)
            assert found.splits.setdefault(name, (split, ids)) == (split, ids)
        assert sorted(n for _, ids in found.splits.values() for n in ids) == sorted(found.rows)

    @rule(number=NUMBERS, is_altered=st.booleans())
    def lay_out(self, number: int, is_altered: bool) -> None:
        """As for a task; and what a task does to its copy stays with that copy."""
        found = self.choose(number)
        parent = self.stores.root / "cache" / "datasets"
        if found.version.version in self.gone:
            with pytest.raises(Refused, match="were removed"):
                materialize(self.stores, found.version, parent)
            return
        folder = materialize(self.stores, found.version, parent)
        files = sorted(folder.rglob("*.parquet"))
        assert sorted(n for file in files for n in pl.read_parquet(file)["id"]) == sorted(
            found.rows
        )
        if is_altered:
            files[0].chmod(0o644)
            files[0].write_bytes(b"altered by a task")

    # -- retention ----------------------------------------------------------------------------
    @rule()
    def collect_garbage(self) -> None:
        planned = plan_garbage(self.platform, GarbageOrder())
        applied = apply_garbage(self.platform, GarbageOrder(), by="ada")
        assert lasting(applied) == lasting(planned)
        assert lasting(plan_garbage(self.platform, GarbageOrder())) == set()
        alive = sorted(set(self.known) - self.gone)
        kept = {*alive[-KEPT_VERSIONS:], *self.tags.values()}
        self.gone |= set(alive) - kept
        self.profiles_are_those_of_the_rows()
        self.any_two_can_be_compared()
        self.others_read_them_by_the_log()

    # -- what holds ------------------------------------------------------------------------------
    @invariant()
    def versions_are_what_they_were(self) -> None:
        assert [one.version for one in list_versions(self.stores, self.name)] == list(self.known)
        for found in self.known.values():
            version = found.version
            assert find_version(self.stores, version.reference) == version
            if version.version in self.gone:
                with pytest.raises(Refused, match="were removed"):
                    read_version(self.stores, version)
                continue
            frame = read_version(self.stores, version)
            assert frame.equals(found.frame)
            assert as_rows(frame) == as_expected(found)
            for split, ids in found.splits.values():
                assert split_ids(self, split) == ids

    def others_read_them_by_the_log(self) -> None:
        for found in self.known.values():
            version = found.version
            if version.version not in self.gone:
                by_log = pl.read_delta(str(self.table), version=version.delta_version)
                assert as_rows(by_log) == as_expected(found)

    def profiles_are_those_of_the_rows(self) -> None:
        """Also where the rows are gone: of these they are all that is left."""
        for found in self.known.values():
            version = found.version
            profile = version_profile(self.stores, version)
            assert profile.rows == len(found.rows)
            days = version_profiles_by_day(self.stores, version)
            assert sum_profiles(days.values()) == profile
            if not found.is_text:
                basis = version_basis(self.stores, version)
                assert profile_frame(found.frame.drop("ds"), basis) == profile
            assert not compare_stored(self.stores, version, version).diff.differs

    def any_two_can_be_compared(self) -> None:
        first, newest = self.known[1], self.known[len(self.known)]
        diff = compare_stored(self.stores, first.version, newest.version).diff
        told = [(one.before, one.after) for one in diff.findings if one.change is Change.ROWS]
        rows = len(first.rows), len(newest.rows)
        assert told == ([] if rows[0] == rows[1] else [rows])

    @property
    def table(self) -> Path:
        return table_folder(self.stores, self.name)

    def teardown(self) -> None:
        """At last somebody else rewrites the table: from then on it is only read."""
        if not self.known:
            return  # what failed before says more
        self.collect_garbage()
        table = DeltaTable(str(self.table))
        before = table.version()
        table.optimize.compact()
        if table.version() != before:
            path, _ = self.write([(1, "0.5")])
            with pytest.raises(Conflict, match="Somebody else wrote to it"):
                self.ingest(path, Mode.APPEND, Policy.WARN)
        self.versions_are_what_they_were()
        self.collect_garbage()
        self.versions_are_what_they_were()
        newest = pl.read_delta(str(self.table))
        assert as_rows(newest) == as_expected(self.known[len(self.known)])
        with self.stores.db.read() as connection:
            assert verify_chain(connection).broken is None


def lasting(plan: GarbagePlan) -> set[Item]:
    """But for what is made anew: a folder of links that goes leaves files that nobody links to."""
    return {item for item in plan.removable if item.kind is not GarbageKind.CACHE}


def split_ids(machine: Dataset, split: Split) -> list[int]:
    return [n for frame in read_split_frames(machine.stores, split, ["id"]) for n in frame["id"]]


def as_rows(frame: pl.DataFrame) -> list[tuple[int, date, object]]:
    return sorted(frame.select("id", "ds", "minutes").rows())


def as_expected(found: Expected) -> list[tuple[int, date, object]]:
    return [
        (n, date(2013, 1, day), text if found.is_text else float(text))
        for n, (day, text) in sorted(found.rows.items())
    ]


@pytest.fixture
def clock() -> ManualClock:
    """Files bear the machine's time: to this clock they are old."""
    return ManualClock(datetime.now(UTC) + timedelta(days=2))


@pytest.mark.hypothesis  # `make soak` asks for these
def test_versions_stay_what_they_were(plane: ControlPlane, soak: bool) -> None:
    numbers = iter(range(1_000_000))
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: Dataset(plane, numbers),
        settings=settings(
            max_examples=300 if soak else 6,
            stateful_step_count=14,
            deadline=None,
            phases=[Phase.generate],  # few steps, and each costs: finding fewer takes minutes
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
