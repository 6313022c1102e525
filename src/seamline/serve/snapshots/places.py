"""Where the bytes of a snapshot lie on this machine, when it was signed on another one.

A snapshot names wheels and interpreters by their paths on the control plane's machine. A root that
follows another one has a file that says where they are here. Paths are believed, bytes are not:
whoever loads a wheel hashes it, wherever it lies.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seamline.domain.errors import Refused
from seamline.serve.snapshots.families import Member
from seamline.serve.snapshots.snapshot import EndpointSpec, ServingSnapshot, Standby
from seamline.store.blobs import write_atomically

FILE_NAME = "places.json"
#: Holds an empty file for each package that was asked for and is not here, named as its digest.
_WANTED = "wanted"


@dataclass(frozen=True)
class Place:
    wheel_path: str
    python: str


def write_places(root: Path, places: Mapping[str, Place]) -> None:
    document = {digest: dataclasses.asdict(place) for digest, place in places.items()}
    write_atomically(root / FILE_NAME, json.dumps(document, indent=1).encode())


def read_places(root: Path) -> dict[str, Place] | None:
    """Package digest → where it is; None for a root of its own."""
    try:
        document = json.loads((root / FILE_NAME).read_bytes())
        return {digest: Place(**place) for digest, place in document.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Refused(
            f"{root / FILE_NAME} cannot be read: {error}.",
            next_step="Delete it; seamline serve writes it again once its origin answers.",
        ) from error


def follows_another(root: Path) -> bool:
    """Whether it is filled by `seamline serve` from a control plane elsewhere."""
    return (root / FILE_NAME).exists()


def want_package(root: Path, digest: str) -> bool:
    """Ask whoever fills this root for it next. False for a root of its own, which nobody fills."""
    if not follows_another(root):
        return False
    folder = root / _WANTED
    folder.mkdir(exist_ok=True)
    (folder / digest.removeprefix("sha256:")).touch()
    return True


def take_wanted(root: Path) -> list[str]:
    """What was asked for since, the last first."""
    found = []
    for path in sorted((root / _WANTED).glob("*"), key=lambda one: one.stat().st_mtime_ns):
        path.unlink()
        found.append(f"sha256:{path.name}")
    return found[::-1]


def localize(snapshot: ServingSnapshot, places: Mapping[str, Place] | None) -> ServingSnapshot:
    """The same with the paths of this machine. Refused where a package was not fetched."""
    if places is None:
        return snapshot
    endpoints = tuple(_endpoint(one, places) for one in snapshot.endpoints)
    standbys = tuple(
        Standby(
            one.release,
            one.release_alias,
            tuple(_endpoint(spec, places) for spec in one.endpoints),
        )
        for one in snapshot.standbys
    )
    return dataclasses.replace(snapshot, endpoints=endpoints, standbys=standbys)


def _endpoint(spec: EndpointSpec, places: Mapping[str, Place]) -> EndpointSpec:
    if spec.family is not None:
        members = tuple(_member(one, places) for one in spec.family.members)
        return dataclasses.replace(spec, family=dataclasses.replace(spec.family, members=members))
    place = _place_of(spec, places)
    return dataclasses.replace(spec, wheel_path=place.wheel_path, python=place.python)


def _member(member: Member, places: Mapping[str, Place]) -> Member:
    place = _place_of(member, places)
    return dataclasses.replace(member, wheel_path=place.wheel_path, python=place.python)


def _place_of(one: EndpointSpec | Member, places: Mapping[str, Place]) -> Place:
    found = places.get(one.package_digest)
    if found is None:
        raise Refused(
            f"The package {one.model} {one.model_version} ({one.package_digest}) was not fetched.",
            next_step="seamline serve fetches it once its origin answers.",
        )
    return found
