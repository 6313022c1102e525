"""Compare two stored versions. Rows are read only where their profiles are on different bases."""

from __future__ import annotations

import json
from dataclasses import dataclass

from seamline.data.diff.compare import Comparison, Side, compare_versions
from seamline.data.diff.deliveries import (
    Delivery,
    profiled_deliveries,
    stored_deliveries,
)
from seamline.data.diff.findings import VersionDiff
from seamline.data.versions import DatasetVersion, find_dataset, version_basis, versions_of_rows
from seamline.data.versions.read import check_kept
from seamline.measure.basis import Basis
from seamline.measure.profiles import Profile
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Compared:
    """The comparison, and the profiles that it was made from, on one basis."""

    diff: VersionDiff
    before: Profile
    after: Profile


def compare_stored(stores: Stores, before: DatasetVersion, after: DatasetVersion) -> Compared:
    basis = version_basis(stores, before)
    was = _read_profile(stores, before, basis)
    of_before, of_after = versions_of_rows(stores, before), versions_of_rows(stores, after)
    held = {one.reference for one in of_before}
    more = [one for one in of_after if one.reference not in held]
    extends = len(of_after) - len(more) == len(of_before)
    notes: tuple[str, ...] = ()
    deliveries: list[Delivery]
    if {one.basis_digest for one in (after, *more)} == {before.basis_digest}:
        now, deliveries = _read_profile(stores, after, basis), stored_deliveries(stores, more)
    else:
        check_kept(stores, after)
        now, deliveries = profiled_deliveries(stores, of_after, basis)
        extends = False
        notes = (
            f"{after.reference} was profiled on another basis than {before.reference}: its "
            f"{after.rows:,} rows were read, and profiled on that of {before.reference}.",
        )
    diff = compare_versions(
        Comparison(
            before=Side(before.reference, before.digest, before.schema, was),
            after=Side(after.reference, after.digest, after.schema, now),
            deliveries=deliveries,
            extends=extends,
            steady=_steady(stores, before.dataset),
            notes=notes,
        )
    )
    return Compared(diff, was, now)


def _read_profile(stores: Stores, version: DatasetVersion, basis: Basis) -> Profile:
    """On a basis that both sides share: it is read, and its digest made, once."""
    data = stores.blobs.get(version.profile_digest, f"the profile of {version.reference}")
    return Profile.from_json(json.loads(data), basis)


def _steady(stores: Stores, dataset: str) -> frozenset[str]:
    """Its keys and the columns of its days: they always move on."""
    with stores.db.read() as connection:
        found = find_dataset(connection, dataset)
    if found is None:
        return frozenset()
    return frozenset((*found.declaration.keys, *found.declaration.day_columns))
