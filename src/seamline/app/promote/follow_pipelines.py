"""Tags follow the environments' pointers: `production` is on what production runs."""

from __future__ import annotations

import logging

from seamline.app.platform import Platform
from seamline.app.register.verify_artifact import require_pipeline
from seamline.domain.errors import SeamlineError
from seamline.domain.promote_facts import EnvironmentChanged
from seamline.promote.environments import list_environments, live_release
from seamline.promote.release import Pin, StoredRelease
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY, find_version
from seamline.register.pipelines.environment_tags import move_environment_tags, tagged_with
from seamline.register.pipelines.ir_file import load_ir
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.principals import PLATFORM

_LOG = logging.getLogger("seamline.promotions")


def follow_pipelines(
    platform: Platform, environment: str, release: StoredRelease | None, *, caused_by: str | None
) -> None:
    """The environment's tag goes to what the release holds; safe to do again.

    What is signed here was signed before, under the tag that the release was made of: whoever
    writes the database can have nothing else signed. What this registry does not have gets no tag.
    """
    stores, versions = platform.stores, {}
    for pin in release.release.pipelines if release else ():
        if not _is_here(stores, pin):
            continue
        require_pipeline(stores, DEFAULT_REPOSITORY, pin.name, pin.version, pin.digest)
        data = stores.blobs.get(pin.digest, f"pipeline {pin.name}@{pin.version}")
        versions[pin.name] = (pin.digest, load_ir(data))
    move_environment_tags(stores, environment, versions, by=PLATFORM, caused_by=caused_by)


def _is_here(stores: Stores, pin: Pin) -> bool:
    with stores.db.read() as connection:
        return find_version(connection, DEFAULT_REPOSITORY, pin.name, pin.digest) is not None


def follow_where_behind(platform: Platform) -> None:
    """At a start: what was live, and what people had tagged so, before there were such tags."""
    with platform.stores.db.read() as connection:
        names = [one.name for one in list_environments(connection)]
    for name in names:
        try:
            _catch_up(platform, name)
        except SeamlineError as error:  # nothing that keeps a server from starting
            _LOG.warning("the tag %s does not follow: %s", name, error)


def _catch_up(platform: Platform, environment: str) -> None:
    with platform.stores.db.read() as connection:
        live = live_release(connection, environment)
        told = read_facts(
            connection,
            kinds=[EnvironmentChanged.kind],
            subject=environment,
            newest_first=True,
            limit=1,
        )
        tagged = tagged_with(connection, environment)
    wanted = {pin.name: pin.digest for pin in live.release.pipelines} if live else {}
    if wanted != {package: tag.digest for package, tag in tagged.items()}:
        follow_pipelines(platform, environment, live, caused_by=told[0].id if told else None)
