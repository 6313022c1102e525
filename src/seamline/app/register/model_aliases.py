"""A model by an environment's name: the version that the release which is live there holds.

Nobody moves such an alias: it is the environment's pointer, read each time. What the catalogue
says of that version is compared with the release, so a changed row is refused and not believed.
"""

from __future__ import annotations

from seamline.domain.errors import DigestMismatch, Refused
from seamline.promote.environments import TRAINING, list_environments, live_release
from seamline.promote.release import Pin, StoredRelease
from seamline.register.models.catalogue import ModelVersion, find_model_version
from seamline.store.stores import Stores


def find_model(stores: Stores, name: str, version: str | None = None) -> ModelVersion:
    """`version` may be an environment's name: what is live there; dataops', or None: the newest.

    Refused where no release that holds the model is live there.
    """
    with stores.db.read() as connection:
        known = {one.name for one in list_environments(connection)}
        is_alias = version is not None and version in known - {TRAINING}
        live = live_release(connection, str(version)) if is_alias else None
    if not is_alias:
        is_newest = version == TRAINING and TRAINING in known
        return find_model_version(stores, name, None if is_newest else version)
    pin = pin_of(live, name)
    if live is None or pin is None:
        find_model_version(stores, name)  # a mistyped name is told first
        held = f"release {live.alias} is, and holds none" if live else "no release is live there"
        raise Refused(
            f"No version of {name} is live in {version}: {held}.",
            next_step=f"Promote a release that holds it: seamline promote RELEASE --to {version}.",
        )
    return find_pinned(stores, pin, live)


def pin_of(release: StoredRelease | None, name: str) -> Pin | None:
    found = (pin for pin in release.release.packages if pin.name == name) if release else ()
    return next(iter(found), None)


def find_pinned(stores: Stores, pin: Pin, release: StoredRelease) -> ModelVersion:
    """DigestMismatch where the catalogue says something else of it than the release."""
    found = find_model_version(stores, pin.name, pin.version)
    if found.wheel_digest != pin.digest:
        raise DigestMismatch(
            f"package {pin.name} {pin.version} of release {release.alias}",
            expected=pin.digest,
            actual=found.wheel_digest,
        )
    return found
