"""A version held to a contract that not all of its rows came in under.

What profiles tell is asked first. What they cannot (patterns, sets, rules over columns, keys) is
read from the rows, once: the answer is kept by the digests of version and contract. Only files
of deliveries that were held to something else are read, and only those that were not read for an
older version: a daily delivery under an edited contract costs no scan of the years before it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from seamline.data.checking.keys import KeyCheck
from seamline.data.declaration import DAY
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
    find_dataset,
    read_file,
    version_files,
    version_profile,
    versions_of_rows,
)
from seamline.domain.errors import DigestMismatch, NotFound
from seamline.measure.casting import DType
from seamline.measure.contracts import (
    Column,
    Contract,
    Policy,
    Violation,
    ViolationKind,
    check_rows,
)
from seamline.measure.contracts.profiled import check_profile
from seamline.measure.contracts.violations import add_violations
from seamline.store.blobs import write_atomically
from seamline.store.stores import Stores

#: Changes whenever the same rows and contract could be answered otherwise.
_EDITION = 1


def breaches_of(stores: Stores, version: DatasetVersion, contract: Contract) -> list[Violation]:
    """What the version's rows break. What is said of a delivery as a whole (how many rows, how
    fresh, drift, values unique in it) was decided when it came, and is not asked again.

    Where a profile tells that nobody may read the version, no row is read.
    """
    deliveries = versions_of_rows(stores, version)
    told = _told(deliveries, contract)
    if all(one.contract_digest == contract.digest for one in deliveries):
        return told
    schema = {name: DType(dtype) for name, dtype in version.schema}
    profiled = check_profile(contract, schema, version_profile(stores, version))
    if any(one.does is Policy.REFUSE for one in profiled) or not _needs_rows(contract):
        return profiled
    kept = _read_kept(stores, version, contract)
    if kept is None:
        kept = _scan(stores, version, deliveries, contract)
        _keep(stores, version, contract, kept)
    absent = [one for one in profiled if one.kind is ViolationKind.MISSING_COLUMN]
    return absent + kept


def _needs_rows(contract: Contract) -> bool:
    columns = any(one.pattern is not None or one.values is not None for one in contract.columns)
    return columns or bool(contract.rules) or contract.unique_in_table


def _told(deliveries: Sequence[DatasetVersion], contract: Contract) -> list[Violation]:
    """What those that were held to this contract broke, and brought in all the same."""
    held = [one for one in deliveries if one.contract_digest == contract.digest]
    found = [
        broken
        for one in held
        for broken in one.breaches
        if broken.kind.is_of_rows and broken.does is not Policy.QUARANTINE
    ]
    return add_violations(found, sum(one.rows_added for one in held))


@dataclass(frozen=True)
class _Held:
    """Files whose answer is known, and what was found in them."""

    files: frozenset[VersionFile]
    broken: tuple[Violation, ...]


def _scan(
    stores: Stores,
    version: DatasetVersion,
    deliveries: Sequence[DatasetVersion],
    contract: Contract,
) -> list[Violation]:
    held = _held_before(stores, deliveries, contract)
    files = [file for file in version_files(stores, version) if file not in held.files]
    there = {name for name, _ in version.schema}
    asked = replace(contract, columns=tuple(_asked(one, there) for one in contract.columns))
    wanted = [column.name for column in contract.columns if column.name in there]
    found = list(held.broken)
    for file in files:
        rows = read_file(stores, version, file, wanted)
        found += check_rows(rows.drop(DAY), asked, day=rows[DAY]).violations
    broken = add_violations(found, version.rows)
    return broken + (_duplicates(stores, version, contract) if contract.unique_in_table else [])


def _asked(column: Column, there: set[str]) -> Column:
    """A column that is not there is told by the schema."""
    return column if column.name in there else replace(column, required=False)


def _held_before(stores: Stores, deliveries: Sequence[DatasetVersion], contract: Contract) -> _Held:
    """Files of versions that were read for this contract, and of deliveries that came under it."""
    held: set[VersionFile] = set()
    broken: list[Violation] = []
    before: set[VersionFile] = set()
    for one in deliveries:
        try:
            now = set(version_files(stores, one))
        except (NotFound, DigestMismatch):  # an older version's list may be gone
            held, before, broken = set(), set(), []
            continue
        if not before <= now:  # rewritten in wider types: other files
            held, broken = set(), []
        kept = _read_kept(stores, one, contract)
        if kept is not None:
            held, broken = now, [told for told in kept if told.kind.is_of_rows]
        elif one.contract_digest == contract.digest and before <= now:
            held |= now - before
            broken += _told([one], contract)
        before = now
    return _Held(frozenset(held), tuple(broken))


def _duplicates(stores: Stores, version: DatasetVersion, contract: Contract) -> list[Violation]:
    """Rows of the version that share their key."""
    with stores.db.read() as connection:
        dataset = find_dataset(connection, version.dataset)
    keys = () if dataset is None else dataset.declaration.keys
    there = {name for name, _ in version.schema}
    if not keys or not there.issuperset(keys):
        return []

    def batches() -> Iterator[pl.DataFrame]:
        return (read_file(stores, version, file, keys) for file in version_files(stores, version))

    with tempfile.TemporaryDirectory(prefix="seamline-keys-") as folder:
        check = KeyCheck(keys, Path(folder) / "keys")
        for frame in batches():
            check.add(frame)
        twice = check.violation(batches, DAY, version.rows)
    return [] if twice is None else [replace(twice, policy=contract.on_breach)]


def _read_kept(
    stores: Stores, version: DatasetVersion, contract: Contract
) -> list[Violation] | None:
    try:
        told = json.loads(_path(stores, version, contract).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return [Violation.from_json(one) for one in told]


def _keep(
    stores: Stores, version: DatasetVersion, contract: Contract, found: Sequence[Violation]
) -> None:
    path = _path(stores, version, contract)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps([one.to_json() for one in found]).encode())


def _path(stores: Stores, version: DatasetVersion, contract: Contract) -> Path:
    what = f"{_EDITION} {version.dataset} {version.digest} {contract.digest}"
    name = hashlib.sha256(what.encode()).hexdigest()
    return stores.root / "cache" / "contracts" / f"{name}.json"
