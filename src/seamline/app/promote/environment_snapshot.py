"""What an environment's data plane is told: what answers, and what stands by to."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from seamline.app.platform import Platform
from seamline.app.promote.endpoints import make_endpoints
from seamline.domain.errors import NotFound, SeamlineError
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import Environment, find_environment
from seamline.promote.promotion import find_promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.standbys import wanted_standbys
from seamline.serve.snapshots.deployments import publish_snapshot
from seamline.serve.snapshots.snapshot import (
    ServingSnapshot,
    Standby,
    check_standby,
    read_snapshot,
    snapshot_path,
)
from seamline.store.facts import RecordedFact

_LOG = logging.getLogger("seamline.deployments")
#: Between these and the end of the promotion, applying writes the snapshot, standbys included.
_BEING_APPLIED = (PromotionPhase.APPLYING, PromotionPhase.VERIFYING)


def write_environment_snapshot(
    platform: Platform, environment: str, release: StoredRelease, *, caused_by: str | None
) -> int:
    """The new snapshot's version. Packages are verified while it is made (law 2)."""
    endpoints = make_endpoints(platform, release)
    with platform.stores.db.read() as connection:
        wanted = wanted_standbys(connection, find_environment(connection, environment))
    standbys = _standbys(platform, wanted, _present(platform, environment))
    return publish_snapshot(
        platform.stores, environment, release.digest, release.alias, endpoints, standbys,
        caused_by=caused_by,
    )  # fmt: skip


def write_empty_snapshot(platform: Platform, environment: str, *, caused_by: str | None) -> int:
    """Nothing is live: nothing answers."""
    return publish_snapshot(platform.stores, environment, "", "", (), caused_by=caused_by)


def keep_warm(platform: Platform, fact: RecordedFact) -> None:
    """A promotion has moved: what may have to answer next is loaded beside what does.

    What cannot be kept warm changes nothing and stops nothing: its gates and its applying say why.
    """
    name = fact.body["environment"]
    if fact.body["after"] in _BEING_APPLIED:
        return
    with platform.stores.db.read() as connection:
        environment = find_environment(connection, name)
        if _is_being_applied(platform, environment):
            return
        wanted = wanted_standbys(connection, environment)
    present = _present(platform, name)
    if (present.release if present else "") != (environment.release or ""):
        return  # applying is about to write it
    standbys = _standbys(platform, wanted, present)
    if standbys == (present.standbys if present else ()):
        return
    publish_snapshot(
        platform.stores, name,
        present.release if present else "",
        present.release_alias if present else "",
        present.endpoints if present else (),
        standbys, caused_by=fact.id,
    )  # fmt: skip


def _is_being_applied(platform: Platform, environment: Environment) -> bool:
    if environment.promotion_id is None:
        return False
    with platform.stores.db.read() as connection:
        return find_promotion(connection, environment.promotion_id).phase in _BEING_APPLIED


def _present(platform: Platform, environment: str) -> ServingSnapshot | None:
    """What was written last; None where nothing was, or what lies there is not what was signed."""
    path = snapshot_path(platform.root, environment)
    try:
        return read_snapshot(path, platform.key.public)
    except NotFound:
        return None
    except SeamlineError as error:
        _LOG.warning("the snapshot of %s is written anew: %s", environment, error)
        return None


def _standbys(
    platform: Platform, wanted: list[str], present: ServingSnapshot | None
) -> tuple[Standby, ...]:
    """What the last snapshot named is named again as it was: its statement was checked when it was
    signed, and the data plane hashes whatever it loads."""
    known = _known(present)
    found = []
    for digest in wanted:
        try:
            standby = known.get(digest) or make_standby(platform, digest)
        except SeamlineError as error:
            _LOG.warning("release %s is not kept warm: %s", digest, error)
            continue
        if standby.endpoints:
            found.append(standby)
    return tuple(found)


def _known(present: ServingSnapshot | None) -> Mapping[str, Standby]:
    if present is None:
        return {}
    live = Standby(present.release, present.release_alias, present.endpoints)
    return {one.release: one for one in (live, *present.standbys)}


def make_standby(platform: Platform, digest: str) -> Standby:
    """Raises why it could not be served."""
    with platform.stores.db.read() as connection:
        release = find_release(connection, digest)
    standby = Standby(release.digest, release.alias, make_endpoints(platform, release))
    check_standby(standby)
    return standby
