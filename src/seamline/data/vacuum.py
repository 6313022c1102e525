"""Remove the rows of versions that nothing needs: first that is recorded, then the files go.

Killed in between, the files are left over, and the next time finds them: no version that is kept
has them. The table's own log is as it was: older Delta versions than the newest lack files then,
as after any VACUUM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, select

from seamline.data.commit import writing
from seamline.data.contracts.quarantine import aside_files, aside_name, drop_asides
from seamline.data.declaration import DAY
from seamline.data.materialize import remove_unused
from seamline.data.recovery import finish_pending
from seamline.data.retention import RetentionDeclaration, decide_kept
from seamline.data.rows import DATASETS
from seamline.data.versions.find import versions_up_to
from seamline.data.versions.read import version_files
from seamline.data.versions.removed import record_removals, removal_reasons, removed_numbers
from seamline.data.versions.tags import tags_by_version
from seamline.data.versions.version import DatasetVersion, table_folder
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.store.tables import list_files, table_version

#: "NAME@3" → who needs it, apart from the dataset's own tags and rule. Asked in the transaction.
Needed = Callable[[Connection], Mapping[str, str]]


@dataclass(frozen=True)
class TableFile:
    """A file that is not needed, and whose it was (empty: left over by a killed writer)."""

    path: Path
    size_bytes: int
    versions: tuple[int, ...]


@dataclass(frozen=True)
class TablePlan:
    """`kept`: version → why; `removable`: version → why it is not needed."""

    dataset: str
    kept: Mapping[int, str]
    kept_bytes: Mapping[int, int]
    removable: Mapping[int, str]
    files: tuple[TableFile, ...]
    #: Of rows that were set aside, and go with the version whose delivery left them behind.
    asides: tuple[TableFile, ...] = ()


def dataset_names(stores: Stores) -> list[str]:
    with stores.db.read() as connection:
        return sorted(connection.execute(select(DATASETS.c.name)).scalars())


def plan_table(
    stores: Stores,
    dataset: str,
    rule: RetentionDeclaration | None,
    needed: Needed,
    before: datetime,
) -> TablePlan:
    """As it stands now; files that came after `before` and belong to no version are a writer's."""
    versions = versions_up_to(stores, dataset, None)
    with stores.db.read() as connection:
        kept, removable = _judge(stores, connection, versions, rule, needed)
    wanted: dict[str, int] = {}
    owners: dict[str, list[int]] = {}
    kept_bytes = dict.fromkeys(kept, 0)
    for version in versions:
        for file in version_files(stores, version):
            owners.setdefault(file.relative, []).append(version.version)
            if version.version in kept and file.relative not in wanted:
                # Of versions that share it, the first that is kept answers for it.
                wanted[file.relative] = version.version
                kept_bytes[version.version] += file.bytes
    found = []
    for path in _table_files(stores, dataset):
        relative = path.relative_to(table_folder(stores, dataset)).as_posix()
        size, is_new = _looked_at(path, before)
        if relative in wanted or (relative not in owners and is_new):
            continue
        found.append(TableFile(path, size, tuple(owners.get(relative, ()))))
    files = _without_current(stores, dataset, found)
    asides: list[TableFile] = []
    deliveries = {aside_name(one.delivery_digest): one.version for one in versions}
    for path in aside_files(stores, dataset):
        owner = deliveries.get(path.name)
        size, is_new = _looked_at(path, before)
        if owner is not None and owner in kept:
            kept_bytes[owner] += size
        elif owner is not None or not is_new:
            asides.append(TableFile(path, size, () if owner is None else (owner,)))
    return TablePlan(dataset, kept, kept_bytes, removable, tuple(files), tuple(asides))


def vacuum_table(
    stores: Stores,
    dataset: str,
    rule: RetentionDeclaration | None,
    needed: Needed,
    before: datetime,
    *,
    by: str,
) -> TablePlan:
    """What was removed. Nobody writes to the dataset meanwhile; who needs what is asked anew, in
    the transaction that says that the rows are gone."""
    with writing(stores, dataset):
        finish_pending(stores, dataset)
        versions = versions_up_to(stores, dataset, None)
        with stores.db.transaction() as tx:
            # Tags are given under the same lock: a version is either tagged or removed.
            tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update())
            gone = removed_numbers(tx, dataset)
            _, removable = _judge(stores, tx, versions, rule, needed)
            new = [
                (one, removable[one.version])
                for one in versions
                if one.version in removable and one.version not in gone
            ]
            record_removals(stores, tx, new, by=by)
        plan = plan_table(stores, dataset, rule, needed, before)
        # That they are gone is true since a moment: what is told is why.
        why = {**plan.removable, **{one.version: reason for one, reason in new}}
        plan = replace(plan, removable=why)
        for file in plan.files:
            file.path.unlink(missing_ok=True)
        if plan.asides:
            paths = [file.path for file in plan.asides]
            drop_asides(stores, dataset, paths, at=stores.clock.now())
        for number in plan.removable:
            folder = stores.root / "cache" / "datasets" / f"{dataset}@{number}"
            # A task that began to read it just now is in no table yet; nobody begins any more.
            if folder.is_dir() and not _looked_at(folder, before)[1]:
                remove_unused(folder, before)
        return plan


def _judge(
    stores: Stores,
    connection: Connection,
    versions: list[DatasetVersion],
    rule: RetentionDeclaration | None,
    needed: Needed,
) -> tuple[dict[int, str], dict[int, str]]:
    if not versions:
        return {}, {}
    dataset = versions[0].dataset
    gone = removal_reasons(connection, dataset)
    by_others = {
        int(reference.partition("@")[2]): why
        for reference, why in needed(connection).items()
        if reference.partition("@")[0] == dataset
    }
    tags = tags_by_version(connection, dataset)
    told = {number: f"tag {', '.join(names)}" for number, names in tags.items()}
    ages = [(one.version, one.at) for one in versions if one.version not in gone]
    judged = decide_kept(ages, rule, {**by_others, **told}, stores.clock.now())
    kept = {one.number: one.reason for one in judged if not one.is_removable}
    why = "" if rule is None else f"retention of {dataset}: {_said(rule)}"
    removable = {one.number: why for one in judged if one.is_removable}
    return kept, {**removable, **gone}


def _said(rule: RetentionDeclaration) -> str:
    """
    >>> _said(RetentionDeclaration("90d", 10))
    'keep_for 90d, keep_versions 10'
    """
    parts = [f"keep_for {rule.keep_for}"] if rule.keep_for is not None else []
    parts += [f"keep_versions {rule.keep_versions}"] if rule.keep_versions is not None else []
    return ", ".join(parts)


def _looked_at(path: Path, before: datetime) -> tuple[int, bool]:
    """How large it is, and whether it came after `before`, as what is gone meanwhile seems to."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, True
    return stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC) > before


def _table_files(stores: Stores, dataset: str) -> list[Path]:
    return sorted(table_folder(stores, dataset).glob(f"{DAY}=*/*.parquet"))


def _without_current(stores: Stores, dataset: str, files: list[TableFile]) -> list[TableFile]:
    """Somebody else may have rewritten the table (OPTIMIZE, say): its newest state stays whole."""
    folder = table_folder(stores, dataset)
    current = table_version(folder) if files else None
    if current is None:
        return files
    held = {one.path for one in list_files(folder, current, DAY)}
    return [one for one in files if one.path not in held]
