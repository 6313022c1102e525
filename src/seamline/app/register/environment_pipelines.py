"""Published pipelines by reference, also NAME@production: what the live release there holds.

The tag in the registry follows the release; the release is what is believed. Where the two differ,
and the ledger does not say that the tag is still on its way, somebody has altered the registry.
"""

from __future__ import annotations

from dataclasses import dataclass

from seamline.domain.digests import short
from seamline.domain.errors import DigestMismatch, NotFound, Refused, Unavailable
from seamline.promote.environments import TRAINING, list_environments, live_release
from seamline.promote.release import Pin, StoredRelease
from seamline.register.pipelines import catalogue
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelineTag,
    PipelineVersionRow,
    find_package,
)
from seamline.register.pipelines.environment_tags import last_move
from seamline.store.stores import Stores


@dataclass(frozen=True)
class LivePin:
    """`pin`: None where the live release of the environment holds no version of the pipeline."""

    environment: str
    release: StoredRelease | None
    pin: Pin | None


def find_pipeline(
    stores: Stores, package: str, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelineVersionRow:
    """By tag or by digest; DigestMismatch where an environment's tag is not on what its live
    release holds."""
    live = find_live_pin(stores, package, reference, repository)
    if live is not None:
        reference = _find_tag(stores, live, package).digest
    return catalogue.find_pipeline(stores, package, reference, repository=repository)


def find_tag(
    stores: Stores, package: str, tag: str, *, repository: str = DEFAULT_REPOSITORY
) -> PipelineTag:
    """As `find_pipeline`."""
    live = find_live_pin(stores, package, tag, repository)
    if live is None:
        return catalogue.find_tag(stores, package, tag, repository=repository)
    return _find_tag(stores, live, package)


def read_pipeline(
    stores: Stores, package: str, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> bytes:
    """The very bytes that were published, verified; `reference` is a tag or a digest."""
    version = find_pipeline(stores, package, reference, repository=repository)
    return stores.blobs.get(version.digest, f"pipeline {version.package}")


def find_live_pin(
    stores: Stores, package: str, reference: str, repository: str = DEFAULT_REPOSITORY
) -> LivePin | None:
    """Where `reference` is the name of an environment that releases go to; None otherwise."""
    with stores.db.read() as connection:
        known = {one.name for one in list_environments(connection)} - {TRAINING}
        if reference not in known or repository != DEFAULT_REPOSITORY:
            return None
        name = find_package(stores, package).package
        live = live_release(connection, reference)
    pins = live.release.pipelines if live else ()
    return LivePin(reference, live, next((pin for pin in pins if pin.name == name), None))


def _find_tag(stores: Stores, live: LivePin, package: str) -> PipelineTag:
    environment, wanted = live.environment, live.pin.digest if live.pin else None
    name = find_package(stores, package).package
    try:
        tag = catalogue.find_tag(stores, name, environment)
    except NotFound:
        tag = None
    actual = tag.digest if tag else None
    if tag is not None and actual == wanted:
        return tag
    with stores.db.read() as connection:
        is_on_its_way = last_move(connection, name, environment) == actual
    if wanted is None and (actual is None or not is_on_its_way):
        raise _not_live(live, name)
    if is_on_its_way:
        raise Unavailable(
            f"The tag {environment} of {name} is on its way from {_say(actual)} to {_say(wanted)}.",
            next_step="Ask again in a moment.",
        )
    raise DigestMismatch(
        f"The tag {environment} of {name}", expected=str(wanted), actual=actual or "no such tag"
    )


def _not_live(live: LivePin, name: str) -> Refused:
    held = f"release {live.release.alias} holds none" if live.release else "no release is live"
    return Refused(
        f"No version of {name} is live in {live.environment}: {held}.",
        next_step="Promote a release that holds it: seamline promote RELEASE --to "
        f"{live.environment}.",
    )


def _say(digest: str | None) -> str:
    return short(digest) if digest else "nothing"
