"""Retention: what nothing needs, told by kind and reason, and removed when that is asked for.

Bytes that a row, a fact, a release or the data plane's snapshot names are never touched, and
neither are rows of dataset versions that a release, a model, an evaluation, a tag, a recent run or
the dataset's own rule needs. `plan` and `apply` are the same rules; apply asks them again, for each
table under its writer's lock.
"""

from __future__ import annotations

import fcntl
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from seamline.app.data.needed_versions import needed_versions
from seamline.app.platform import Platform
from seamline.data.materialize import last_used, remove_unused, unused_cache
from seamline.data.retention import RetentionDeclaration
from seamline.data.vacuum import TablePlan, dataset_names, plan_table, vacuum_table
from seamline.domain.clock import iso
from seamline.domain.data_facts import GarbageCollected
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import Conflict
from seamline.domain.states import RunState
from seamline.register.models.origins import runs_of_models
from seamline.store.blobs import StoredBlob
from seamline.store.canonical import digest_of_json
from seamline.store.references import Ignored, referenced_blobs
from seamline.store.stores import Stores
from seamline.train.attempts.volumes import ended_workspaces, sweep_workspaces
from seamline.train.reads import runs_ended_before
from seamline.train.runs import list_runs

#: What came within this time may be on its way to the row that will name it.
GRACE = "24h"
#: Files bear the kernel's time, which is a few milliseconds behind the clock's.
_TICK = timedelta(seconds=0.1)
_GOING = (RunState.PENDING, RunState.RUNNING)
#: Of several who need a blob, who is told.
_ORDER = ("releases", "environments", "model_versions", "package_files", "pipeline_versions")


@dataclass(frozen=True)
class GarbageOrder:
    """`runs_older_than`: outputs of runs that ended longer ago, and made no model, are not needed
    for the runs' own sake. Not given: every run's outputs are kept."""

    runs_older_than: str | None = None
    grace: str = GRACE


class GarbageKind(StrEnum):
    #: A file of a dataset's table.
    ROWS = "rows"
    BLOB = "blob"
    #: Made anew when it is asked for.
    CACHE = "cache"
    #: A folder that a run, or the packaging of its model, worked in.
    WORKSPACE = "workspace"


@dataclass(frozen=True)
class Item:
    """`reason` says why it is not needed."""

    kind: GarbageKind
    name: str
    size_bytes: int
    reason: str


@dataclass(frozen=True)
class Keeping:
    kind: GarbageKind
    reason: str
    size_bytes: int
    count: int


@dataclass(frozen=True)
class GarbagePlan:
    removable: tuple[Item, ...]
    kept: tuple[Keeping, ...]

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.removable)

    def to_json(self) -> dict[str, Any]:
        items = [asdict(item) for item in self.removable]
        kept = [asdict(one) for one in self.kept]
        return {"bytes": self.size_bytes, "removable": items, "kept": kept}


def plan_garbage(platform: Platform, order: GarbageOrder) -> GarbagePlan:
    """Changes nothing."""
    stores = platform.stores
    before = _before(stores, order)
    tables = [
        plan_table(stores, name, _rule(platform, name), _needed(stores), before)
        for name in dataset_names(stores)
    ]
    blobs, references = _judge_blobs(stores, order, before)
    return _told(stores, tables, blobs, references, before)


def apply_garbage(platform: Platform, order: GarbageOrder, *, by: str) -> GarbagePlan:
    """What was removed. May be killed anywhere and done again."""
    stores = platform.stores
    with _alone(stores):
        before = _before(stores, order)
        tables = [
            vacuum_table(stores, name, _rule(platform, name), _needed(stores), before, by=by)
            for name in dataset_names(stores)
        ]
        blobs, references = _judge_blobs(stores, order, before)
        gone = [
            blob for blob in blobs if stores.blobs.remove_unused(blob.digest, before.timestamp())
        ]
        plan = _told(stores, tables, gone, references, before)
        for _ in ("folders", "then the files that they were links to"):
            for path in _unused_cache(stores, before):
                remove_unused(path, before)
        sweep_workspaces(stores)
        for path in _left_by_packaging(stores, before):
            shutil.rmtree(path, ignore_errors=True)
        counts = dict(Counter(str(item.kind) for item in plan.removable))
        if counts:
            digest = digest_of_json(plan.to_json())
            with stores.db.transaction() as tx:
                stores.facts.append(tx, GarbageCollected(digest, plan.size_bytes, counts), by=by)
    return plan


def _judge_blobs(
    stores: Stores, order: GarbageOrder, before: datetime
) -> tuple[list[StoredBlob], dict[str, str]]:
    """Those that nothing refers to and that have lain there since `before`, and who needs which."""
    stored = [one for one in stores.blobs.stored() if one.put_at <= before.timestamp()]
    # Asked after the list was made: what has come to be referred to meanwhile is seen.
    with stores.db.read() as connection:
        snapshots = [("serving", path) for path in (stores.root / "serving").glob("*.json")]
        ignored = _ignored(connection, stores, order)
        found = referenced_blobs(connection, stores.blobs, snapshots, ignored, _ORDER)
    return [one for one in stored if one.digest not in found], found


def _ignored(connection: Any, stores: Stores, order: GarbageOrder) -> Ignored:
    """Rows of old runs do not keep what they name; the rows themselves stay."""
    if order.runs_older_than is None:
        return {}
    age = timedelta(seconds=parse_duration_s(order.runs_older_than))
    ended = runs_ended_before(connection, iso(stores.clock.now() - age))
    old = ended - runs_of_models(connection)
    return {"artifacts": ("run_id", old), "tasks": ("run_id", old)}


def _told(
    stores: Stores,
    tables: list[TablePlan],
    blobs: list[StoredBlob],
    references: dict[str, str],
    before: datetime,
) -> GarbagePlan:
    removable = [item for table in tables for item in _table_items(table)]
    removable += [
        Item(GarbageKind.BLOB, blob.digest, blob.size_bytes, "nothing refers to it")
        for blob in blobs
    ]
    removable += _made_anew(stores, before)
    gone = {blob.digest for blob in blobs}
    return GarbagePlan(tuple(removable), tuple(_kept(stores, tables, gone, references)))


def _made_anew(stores: Stores, before: datetime) -> Iterator[Item]:
    """What runs and tasks left to be used again, or left behind."""
    for path in _unused_cache(stores, before):
        why = "nobody has used it lately; it is made anew"
        yield Item(GarbageKind.CACHE, path.name, _size_of(path), why)
    for path in ended_workspaces(stores):
        why = "its run succeeded or ended long ago"
        yield Item(GarbageKind.WORKSPACE, path.parent.name, _size_of(path), why)
    for path in _left_by_packaging(stores, before):
        name = f"{path.parent.name}/{path.name}"
        yield Item(GarbageKind.WORKSPACE, name, _size_of(path), "left by packaging")


def _kept(
    stores: Stores, tables: list[TablePlan], gone: Collection[str], references: Mapping[str, str]
) -> Iterator[Keeping]:
    """By kind and reason: how many, and how large together."""
    counts: Counter[tuple[GarbageKind, str]] = Counter()
    sizes: Counter[tuple[GarbageKind, str]] = Counter()
    for table in tables:
        for number, reason in table.kept.items():
            counts[GarbageKind.ROWS, reason] += 1
            sizes[GarbageKind.ROWS, reason] += table.kept_bytes[number]
    for blob in stores.blobs.stored():
        if blob.digest not in gone:
            reason = references.get(blob.digest, "younger than the time of grace")
            counts[GarbageKind.BLOB, reason] += 1
            sizes[GarbageKind.BLOB, reason] += blob.size_bytes
    for key, count in sorted(counts.items()):
        yield Keeping(*key, sizes[key], count)


def _table_items(table: TablePlan) -> Iterator[Item]:
    for file in (*table.files, *table.asides):
        name = "/".join(file.path.parts[-3:])
        reasons = {table.removable[number] for number in file.versions if number in table.removable}
        told = ", ".join(f"@{number}" for number in file.versions)
        reason = f"only {told} had it: {'; '.join(sorted(reasons))}" if told else "left over"
        yield Item(GarbageKind.ROWS, name, file.size_bytes, reason)


def _unused_cache(stores: Stores, before: datetime) -> list[Path]:
    """Only while no run goes on: its tasks may read in a folder for days."""
    if any(list_runs(stores, state=state, limit=1) for state in _GOING):
        return []
    wheels = (stores.root / "cache" / "wheels").glob("*/*.whl")
    old = [path for path in wheels if last_used(path) <= before.timestamp()]
    return [*unused_cache(stores, before), *sorted(old)]


def _left_by_packaging(stores: Stores, before: datetime) -> list[Path]:
    """Folders in which the model of an ended run was described, by a server that was killed."""
    with stores.db.read() as connection:
        ended = runs_ended_before(connection, iso(before))
    found = stores.root.glob("runs/*/package-*")
    since = before.timestamp()
    return [path for path in sorted(found) if path.parent.name in ended and _is_old(path, since)]


def _is_old(path: Path, since: float) -> bool:
    return path.is_dir() and last_used(path) <= since


def _size_of(path: Path) -> int:
    """Without files that another folder also holds (the cache itself has a link of each). Nothing
    of what goes meanwhile."""
    with suppress(FileNotFoundError):
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        return sum(stat.st_size for stat in (file.stat() for file in files) if stat.st_nlink <= 2)
    return 0


def _before(stores: Stores, order: GarbageOrder) -> datetime:
    return stores.clock.now() - timedelta(seconds=parse_duration_s(order.grace)) - _TICK


def _rule(platform: Platform, dataset: str) -> RetentionDeclaration | None:
    """As it is declared now. A dataset that no project declares any more keeps its rows."""
    declared = platform.declarations().datasets.get(dataset)
    return None if declared is None else declared.retention


def _needed(stores: Stores) -> Callable[[Any], Any]:
    return lambda connection: needed_versions(connection, stores.clock)


@contextmanager
def _alone(stores: Stores) -> Iterator[None]:
    folder = stores.root / "locks"
    folder.mkdir(exist_ok=True)
    with (folder / "retention").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                "Retention is being applied already.", next_step="Wait until it has ended."
            ) from None
        yield
