"""What follows from an environment's pointer: package index, serving snapshot, then live."""

from __future__ import annotations

import json
import logging
import urllib.error
import urllib.request
from typing import Any

from seamline.app.declarations import DeploymentDeclaration
from seamline.app.platform import Platform
from seamline.app.promote.follow_pipelines import follow_pipelines
from seamline.app.serve.serving_rules import input_rules
from seamline.domain.errors import (
    DigestMismatch,
    MachineryError,
    Refused,
    SeamlineError,
    Unavailable,
)
from seamline.domain.states import PromotionPhase
from seamline.promote.environments import find_environment
from seamline.promote.promotion import find_promotion
from seamline.promote.release import Pin, StoredRelease, find_release
from seamline.promote.steps import finish
from seamline.register.models.catalogue import ModelVersion, verify_model_version
from seamline.register.packages.index import admit
from seamline.runtime.requirements import RequirementSet
from seamline.serve.deployments import publish_snapshot
from seamline.serve.snapshot import Column, EndpointSpec, Signature
from seamline.store.facts import RecordedFact

_LOG = logging.getLogger("seamline.deployments")
PLANE_TIMEOUT_S = 60.0


def on_environment_changed(platform: Platform, fact: RecordedFact) -> None:
    """Idempotent: everything is derived again from the pointer as it stands."""
    stores, name = platform.stores, fact.body["environment"]
    promotion_id = fact.body["promotion_id"]
    with stores.db.read() as connection:
        environment = find_environment(connection, name)
        release = find_release(connection, fact.body["release"] or fact.body["before"])
        promotion = find_promotion(connection, promotion_id)
    if environment.release != fact.body["release"]:
        return  # a newer release has taken its place meanwhile
    if environment.release is None:
        follow_pipelines(platform, name, None, caused_by=fact.id)
        # The first one could not be verified: whatever of it was written serves nothing.
        publish_snapshot(
            stores, platform.key, name, release.digest, release.alias, (), caused_by=fact.id
        )
        return
    try:
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
        return
    finish(stores, promotion_id, PromotionPhase.LIVE, "", caused_by=fact.id)


def enter_packages(
    platform: Platform, environment: str, release: StoredRelease, *, by: str
) -> None:
    """Into the environment's index, which gives out what is live or being checked; verified."""
    stores = platform.stores
    for pin in release.release.packages:
        stores.blobs.verified_path(pin.digest, f"package {pin.name} {pin.version}")
        with stores.db.transaction() as tx:
            admit(tx, stores.clock, environment, pin.name, pin.version, by=by)


def write_environment_snapshot(
    platform: Platform, environment: str, release: StoredRelease, *, caused_by: str | None
) -> int:
    """The new snapshot's version. Packages are verified while it is made (law 2)."""
    pins = {pin.name: pin for pin in release.release.packages}
    endpoints = tuple(
        _endpoint(platform, deployment, pins[deployment.model])
        for deployment in platform.declarations().deployments.values()
        if deployment.model in pins
    )
    return publish_snapshot(
        platform.stores,
        platform.key,
        environment,
        release.digest,
        release.alias,
        endpoints,
        caused_by=caused_by,
    )


def _endpoint(platform: Platform, deployment: DeploymentDeclaration, pin: Pin) -> EndpointSpec:
    # What the plane obeys is signed here: so it is what was signed when it was made.
    found = verify_model_version(platform.stores, pin.name, pin.version, platform.key.public)
    what = f"package {pin.name} {pin.version}"
    if found.wheel_digest != pin.digest:
        raise DigestMismatch(what, expected=pin.digest, actual=found.wheel_digest)
    wheel = platform.stores.blobs.verified_path(pin.digest, what)
    document = found.document
    requirements = RequirementSet.of(document["requirements"])
    held_to = input_rules(platform.stores, found, deployment.on_breach)
    for one in held_to.left_out:
        _LOG.warning("endpoint %s is not held to what its contract says: %s", deployment.name, one)
    return EndpointSpec(
        endpoint=deployment.name,
        model=found.model,
        model_version=found.version,
        package_digest=pin.digest,
        payload_digest=found.payload_digest,
        wheel_path=str(wheel.resolve()),
        wheel_name=found.filename,
        module=document["module"],
        task=document["task"],
        signature=_signature(found),
        python=str(platform.environments.ensure(requirements).python),
        requirements=tuple(document["requirements"]),
        event_time=deployment.event_time,
        context=tuple(Column(name, "BYTES", nullable=True) for name in deployment.context),
        private=deployment.private,
        rules=held_to.rules,
        expressions=held_to.expressions,
    )


def _signature(version: ModelVersion) -> Signature:
    document: dict[str, Any] = version.document["signature"]

    def columns(part: str) -> tuple[Column, ...]:
        return tuple(
            Column(one["name"], one["datatype"], one.get("nullable", False))
            for one in document[part]
        )

    return Signature(columns("inputs"), columns("outputs"))


def await_data_plane(platform: Platform, environment: str, version: int) -> None:
    """Until the data plane says that it serves this snapshot. No plane, nothing to wait for.

    Raises Refused with the plane's own words when it refuses the snapshot, Unavailable when it
    does not answer in time.
    """
    url = platform.data_plane_url()
    if url is None:
        return
    deadline = PLANE_TIMEOUT_S
    query = f"{url}/snapshots/{environment}?version={version}&wait_s={deadline:.0f}"
    try:
        with urllib.request.urlopen(query, timeout=deadline + 5) as response:  # noqa: S310
            state = json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise Unavailable(f"The data plane at {url} did not answer: {error}.") from error
    if state.get("version") != version:
        said = state.get("error")
        raise (Refused if said else Unavailable)(
            f"The data plane did not take snapshot {version} of {environment}: "
            f"{said or 'it is still loading'}.",
            next_step="It goes on serving the release before.",
        )
