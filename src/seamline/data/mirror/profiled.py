"""A version's profiles by day on another table's basis.

Where it was profiled on that basis already, they are in the store, and no row is read. Else its
rows are read once: what was counted is kept by the digests of version and basis.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date

from seamline.data.declaration import DAY
from seamline.data.versions import (
    DatasetVersion,
    read_frames,
    version_basis,
    version_profiles_by_day,
)
from seamline.measure.basis import Basis
from seamline.measure.profiles import Profile, add_profiles, profile_partitions
from seamline.store.blobs import write_atomically
from seamline.store.stores import Stores

#: Changes whenever the same rows and basis could be counted otherwise.
_EDITION = 1


def profiles_on(stores: Stores, version: DatasetVersion, basis: Basis) -> dict[date, Profile]:
    """In order of the days. Refused where rows would have to be read and were removed."""
    if version_basis(stores, version).digest == basis.digest:
        return version_profiles_by_day(stores, version)
    what = f"{_EDITION} {version.dataset} {version.digest} {basis.digest}"
    name = hashlib.sha256(what.encode()).hexdigest()
    path = stores.root / "cache" / "profiles" / f"{name}.json"
    try:
        told = json.loads(path.read_bytes())
        return {date.fromisoformat(day): Profile.from_json(one, basis) for day, one in told.items()}
    except (FileNotFoundError, ValueError):
        found = _count(stores, version, basis)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {day.isoformat(): one.to_json() for day, one in found.items()}
    write_atomically(path, json.dumps(told).encode())
    return found


def _count(stores: Stores, version: DatasetVersion, basis: Basis) -> dict[date, Profile]:
    names = [name for name, _ in version.schema if name in basis.columns]
    found: dict[date, Profile] = {}
    for frame in read_frames(stores, version, [*names, DAY]):
        for text, part in profile_partitions(frame, basis, DAY).items():
            day = date.fromisoformat(text)
            found[day] = add_profiles(found[day], part) if day in found else part
    return dict(sorted(found.items()))
