"""What a version is like: from its profile alone, no row is read."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from seamline.data.column_summary import summarise_column
from seamline.data.versions.find import versions_of_rows
from seamline.data.versions.read import is_within
from seamline.data.versions.version import DatasetVersion
from seamline.measure.basis import Basis
from seamline.measure.casting import DType
from seamline.measure.profiles import Profile, add_profiles
from seamline.store.stores import Stores


def version_basis(stores: Stores, version: DatasetVersion) -> Basis:
    what = f"the basis of {version.reference}"
    return Basis.from_canonical(stores.blobs.get(version.basis_digest, what))


def version_profile(stores: Stores, version: DatasetVersion) -> Profile:
    """The profile of all its rows; no row is read."""
    data = stores.blobs.get(version.profile_digest, f"the profile of {version.reference}")
    return Profile.from_json(json.loads(data), version_basis(stores, version))


def version_profiles_by_day(
    stores: Stores, version: DatasetVersion, since: date | None = None, until: date | None = None
) -> dict[date, Profile]:
    """One profile per day with since <= day < until, in order; no row is read."""
    basis = version_basis(stores, version)
    found: dict[date, Profile] = {}
    for one in versions_of_rows(stores, version):
        data = stores.blobs.get(one.days_digest, f"the profiles by day of {one.reference}")
        for text, profile in json.loads(data).items():
            day = date.fromisoformat(text)
            if is_within(day, since, until):
                part = Profile.from_json(profile, basis)
                found[day] = add_profiles(found[day], part) if day in found else part
    return dict(sorted(found.items()))


def show_version(stores: Stores, version: DatasetVersion) -> dict[str, Any]:
    """The version as JSON, with a summary of each column; made from the profile alone."""
    profile = version_profile(stores, version)
    columns = [
        summarise_column(name, DType(dtype), profile.basis.columns[name], profile.columns[name])
        for name, dtype in version.schema
    ]
    return {**version.to_json(), "columns": columns}
