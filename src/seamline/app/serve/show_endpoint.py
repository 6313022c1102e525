"""One endpoint as people look at it: what answers, whether it does, how fast, and what it said.

Figures come from the prediction log, which outlives the data plane's counters; what never entered
it (requests that were refused) comes from those counters, since the data plane started; and of data
planes elsewhere, from what they have told of theirs.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from seamline.app.platform import Platform
from seamline.app.serve.ask_plane import PlaneLook, base_path, counts_of, look_at_plane
from seamline.app.serve.endpoint_log import read_endpoint_log
from seamline.domain.errors import DigestMismatch, NotFound, SeamlineError, not_found
from seamline.promote.environments import find_environment, list_environments
from seamline.serve.far_counts import read_counts
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    read_snapshot,
    snapshot_path,
)

#: A package of more is not hashed for the sake of an example.
_LARGEST_WHEEL_BYTES = 64 << 20


def list_endpoints(platform: Platform) -> list[dict[str, Any]]:
    """Environment by environment: its endpoints, or why there are none."""
    url = platform.data_plane_url()
    with platform.stores.db.read() as connection:
        environments = [one for one in list_environments(connection) if one.policy.after]
    told = []
    for environment in environments:
        entry: dict[str, Any] = {
            "environment": environment.name,
            "server": environment.policy.url,
            "release": None,
            "endpoints": [],
            "refused": "",
        }
        try:
            snapshot = _live(platform, environment.name)
        except SeamlineError as error:
            entry["refused"] = str(error)
        else:
            if snapshot is not None:
                look = look_at_plane(url, environment.name)
                entry["release"] = _release(snapshot)
                entry["endpoints"] = [
                    {**_answering(spec), "state": state_of(spec, snapshot, look)}
                    for spec in snapshot.endpoints
                ]
        told.append(entry)
    return told


def endpoint_names(platform: Platform, environment: str) -> list[str]:
    """Of what is live there; none where its snapshot does not hold."""
    try:
        snapshot = _live(platform, environment)
    except SeamlineError:
        return []
    return [] if snapshot is None else [spec.endpoint for spec in snapshot.endpoints]


def find_endpoint(
    platform: Platform, environment: str, endpoint: str
) -> tuple[ServingSnapshot, EndpointSpec]:
    """Raises NotFound, which says what is live instead; Refused for a snapshot that does not
    hold."""
    with platform.stores.db.read() as connection:
        find_environment(connection, environment)
    snapshot = _live(platform, environment)
    if snapshot is None:
        raise NotFound(
            f"Nothing is live in {environment}, so there is no endpoint {endpoint!r} there.",
            next_step="Promote a release there.",
        )
    specs = {spec.endpoint: spec for spec in snapshot.endpoints}
    if endpoint not in specs:
        raise not_found(f"endpoint of {environment}", endpoint, specs)
    return snapshot, specs[endpoint]


def show_endpoint(platform: Platform, environment: str, endpoint: str) -> dict[str, Any]:
    snapshot, spec = find_endpoint(platform, environment, endpoint)
    url = platform.data_plane_url()
    look = look_at_plane(url, environment)
    sample, altered = {}, ""
    try:
        sample = sample_row(platform, spec)
    except DigestMismatch as error:
        altered = str(error)
    return {
        **_answering(spec),
        "environment": environment,
        "release": _release(snapshot),
        "snapshot_version": snapshot.version,
        "url": None if url is None else f"{url}{base_path(environment)}/models/{endpoint}",
        "state": state_of(spec, snapshot, look),
        "engine": _engine(spec, environment, look),
        "standbys": [] if look is None else look.health.get("standbys", []),
        "inputs": _columns(spec.signature.inputs, sample),
        "context": _columns(spec.context, {}),
        "outputs": [{"name": one.name, "datatype": one.datatype} for one in spec.signature.outputs],
        "private": list(spec.private),
        "altered": altered,
        "counts": {} if look is None else counts_of(look.figures, environment).get(endpoint, {}),
        "counts_elsewhere": [
            {"plane": one.host, "told_at": one.told_at, "counts": one.total[endpoint]}
            for one in read_counts(platform.root, environment)
            if endpoint in one.total
        ],
        **read_endpoint_log(platform, environment, endpoint),
    }


def state_of(
    spec: EndpointSpec, snapshot: ServingSnapshot, look: PlaneLook | None
) -> dict[str, str]:
    """`state`: ready, warming, restarting, failed or down; `why`, where there is more to say."""
    if look is None:
        return {"state": "down", "why": "No data plane answers."}
    health = look.health
    refused = health.get("refused") or {}
    behind = ""
    if health.get("snapshot_version") != snapshot.version:
        behind = refused.get("message") or f"Snapshot {snapshot.version} is being loaded."
    if spec.endpoint in health.get("restarting", ()):
        return {"state": "restarting", "why": "Its worker ended and is started again."}
    if spec.endpoint in health.get("endpoints", ()):
        served = health.get("release_alias") or health.get("release")
        return {"state": "ready", "why": behind and f"Still {served} answers: {behind}"}
    why = refused.get("endpoints", {}).get(spec.endpoint) or refused.get("message", "")
    return {"state": "failed", "why": why} if why else {"state": "warming", "why": behind}


def sample_row(platform: Platform, spec: EndpointSpec) -> dict[str, Any]:
    """A row that the package was proven with; of many models, one that the first of them has.
    Empty where the package is too large to look into for that."""
    member = None if spec.family is None else spec.family.members[0]
    digest = spec.package_digest if member is None else member.package_digest
    module = spec.module if member is None else member.module
    blobs = platform.stores.blobs
    path = blobs.path_of(digest)
    if not path.exists() or path.stat().st_size > _LARGEST_WHEEL_BYTES:
        return {}
    with (
        closing(blobs.open_verified(digest, f"package {spec.model}")) as opened,
        opened.reading() as file,
        zipfile.ZipFile(file) as wheel,
    ):
        name = f"{module}/samples.json"
        rows = json.loads(wheel.read(name))["rows"] if name in wheel.namelist() else []
    row: dict[str, Any] = next(iter(rows), {})
    if member is not None and spec.family is not None:
        row = {**row, **dict(zip(spec.family.keys, member.key, strict=True))}
    return row


def _live(platform: Platform, environment: str) -> ServingSnapshot | None:
    try:
        found = read_snapshot(snapshot_path(platform.root, environment), platform.key.public)
    except NotFound:
        return None
    return found if found.release else None


def _release(snapshot: ServingSnapshot) -> dict[str, str]:
    return {"alias": snapshot.release_alias, "digest": snapshot.release}


def _answering(spec: EndpointSpec) -> dict[str, Any]:
    family = spec.family
    return {
        "endpoint": spec.endpoint,
        "model": spec.model,
        "model_version": spec.model_version,
        "package_digest": spec.package_digest,
        "task": spec.task,
        "family": family
        and {
            "keys": list(family.keys),
            "models": len(family.members),
            "default": family.default,
            "memory_bytes": family.memory_bytes,
        },
    }


def _engine(spec: EndpointSpec, environment: str, look: PlaneLook | None) -> dict[str, Any]:
    """`runs`: twin or python, None where nobody can tell."""
    labels = {"environment": environment, "endpoint": spec.endpoint}
    twin = look and look.figure("seamline_endpoint_twin", **labels)
    return {
        "runs": None if twin is None else "twin" if twin else "python",
        "twin": spec.twin.value,
        "requirements": len(spec.requirements),
        "loaded": look and look.figure("seamline_models_loaded", **labels),
        "memory_bytes": look and look.figure("seamline_models_memory_bytes", **labels),
        "processes": look and int(look.figure("seamline_planes") or 1),
    }


def _columns(columns: tuple[Column, ...], example: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "datatype": one.datatype,
            "nullable": one.nullable,
            "example": example.get(one.name),
        }
        for one in columns
    ]
