"""What follows from an environment's pointer: package index, serving snapshot, then live."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.app.promote.environment_snapshot import (
    write_empty_snapshot,
    write_environment_snapshot,
)
from seamline.app.promote.follow_pipelines import follow_pipelines
from seamline.app.promote.gates.digests import require_bytes
from seamline.app.promote.ship_release import ship_release
from seamline.app.serve.data_plane import ask_snapshot
from seamline.domain.errors import (
    MachineryError,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import find_environment
from seamline.promote.promotion import find_promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.steps import finish
from seamline.register.packages.index import admit
from seamline.store.facts import RecordedFact

PLANE_TIMEOUT_S = 60.0


def on_environment_changed(platform: Platform, fact: RecordedFact) -> bool:
    """Idempotent: everything is derived again from the pointer as it stands. Whether there is more
    to do: then ask again."""
    stores, name = platform.stores, fact.body["environment"]
    promotion_id = fact.body["promotion_id"]
    with stores.db.read() as connection:
        environment = find_environment(connection, name)
        release = find_release(connection, fact.body["release"] or fact.body["before"])
        promotion = find_promotion(connection, promotion_id)
    if environment.release != fact.body["release"]:
        return False  # a newer release has taken its place meanwhile
    if environment.policy.url is not None:
        return ship_release(platform, environment, promotion, fact)
    if environment.release is None:
        follow_pipelines(platform, name, None, caused_by=fact.id)
        # The first one could not be verified: whatever of it was written serves nothing.
        write_empty_snapshot(platform, name, caused_by=fact.id)
        return False
    try:
        require_bytes(platform, release)
        enter_packages(platform, name, release, by=fact.by)
        follow_pipelines(platform, name, release, caused_by=fact.id)
        version = write_environment_snapshot(platform, name, release, caused_by=fact.id)
        await_data_plane(platform, name, version)
    except SeamlineError as error:
        if promotion.phase is not PromotionPhase.VERIFYING:
            raise  # it was verified once: asked again until the environment is as it says
        broke = isinstance(error, Unavailable | MachineryError)
        end = PromotionPhase.ERRORED if broke else PromotionPhase.FAILED
        finish(stores, promotion_id, end, str(error), caused_by=fact.id)
        return False
    finish(stores, promotion_id, PromotionPhase.LIVE, "", caused_by=fact.id)
    return False


def enter_packages(
    platform: Platform, environment: str, release: StoredRelease, *, by: str
) -> None:
    """Into the environment's index, which gives out what is live or being checked; verified."""
    stores = platform.stores
    for pin in release.release.packages:
        stores.blobs.verified_path(pin.digest, f"package {pin.name} {pin.version}")
        with stores.db.transaction() as tx:
            admit(tx, stores.clock, environment, pin.name, pin.version, by=by)


def await_data_plane(platform: Platform, environment: str, version: int) -> None:
    """Until the data plane says that it serves this snapshot. No plane, nothing to wait for.

    Raises Refused with the plane's own words when it refuses the snapshot, Unavailable when it
    does not answer in time.
    """
    url = platform.data_plane_url()
    if url is None:
        return
    deadline = PLANE_TIMEOUT_S
    query = f"?version={version}&wait_s={deadline:.0f}"
    state = ask_snapshot(url, environment, query, timeout_s=deadline + 5)
    if state.get("version") != version:
        said = state.get("error")
        raise (Refused if said else Unavailable)(
            f"The data plane did not take snapshot {version} of {environment}: "
            f"{said or 'it is still loading'}.",
            next_step="It goes on serving the release before.",
        )
