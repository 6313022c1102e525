"""Asks a standby and what is live, in turn, as callers would: what the gate `load` measures.

The load comes from a task process of its own. It is bounded (`MOST_PER_S` at the most, one gate at
a time, half of the time to each contender), and signed: the data plane answers it with the release
that is named, and neither logs nor counts it as predictions.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from seamline.app.platform import Platform
from seamline.app.serve.data_plane import ask_snapshot
from seamline.domain.clock import iso
from seamline.domain.errors import Unavailable
from seamline.promote.release import Pin, StoredRelease
from seamline.register.models.catalogue import ModelVersion, find_model_version
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import Limits, TaskKind, TaskSpec
from seamline.serve import load_main
from seamline.serve.snapshots.probes import HEADER, Probe, write_probe

CONNECTIONS = 4
BLOCK_S = 0.3
CANDIDATE, INCUMBENT = "candidate", "incumbent"
_LOOK_TIMEOUT_S = 10.0
_MOST_BODIES = 20


class NotWarm(Exception):
    """The standby cannot be loaded; the message says why."""


@dataclass(frozen=True)
class Contender:
    release: str
    version: str
    bodies: tuple[str, ...]


def await_standby(
    platform: Platform, url: str, environment: str, release: str, until: float
) -> None:
    """Until the data plane has it warm, or serves it; `until` on the monotonic clock. NotWarm where
    it does not load, Unavailable where that takes too long."""
    last: dict[str, Any] = {}

    def is_settled() -> bool:
        last.clear()
        last.update(ask_snapshot(url, environment, timeout_s=_LOOK_TIMEOUT_S))
        return _warmth(last, release) in ("warm", "failed")

    left_s = max(0.0, until - time.monotonic())
    if not platform.changes.wait_until(is_settled, left_s):
        raise Unavailable(f"The data plane did not load the release for {environment} in time.")
    if _warmth(last, release) == "failed":
        told = (one["error"] for one in last["standbys"] if one["release"] == release)
        raise NotWarm(next(told) or "it does not load")


def _warmth(state: Mapping[str, Any], release: str) -> str:
    if state.get("release") == release:
        return "warm"
    found = (one["state"] for one in state.get("standbys", ()) if one["release"] == release)
    return next(found, "")


def make_contender(platform: Platform, release: StoredRelease, pin: Pin) -> Contender:
    """With a request for each of the package's sample rows, one row each."""
    found = find_model_version(platform.stores, pin.name, pin.version)
    return Contender(release.digest, pin.version, _bodies(platform, pin, found))


def _bodies(platform: Platform, pin: Pin, found: ModelVersion) -> tuple[str, ...]:
    what = f"package {pin.name} {pin.version}"
    path = platform.stores.blobs.verified_path(pin.digest, what)
    with zipfile.ZipFile(path) as wheel:
        samples = json.loads(wheel.read(f"{found.document['module']}/samples.json"))
    inputs = found.document["signature"]["inputs"]
    return tuple(
        json.dumps(
            {
                "inputs": [
                    {
                        "name": one["name"],
                        "shape": [1],
                        "datatype": one["datatype"],
                        "data": [row.get(one["name"])],
                    }
                    for one in inputs
                ]
            }
        )
        for row in samples["rows"][:_MOST_BODIES]
    )


def press(
    platform: Platform,
    url: str,
    environment: str,
    endpoint: str,
    contenders: Mapping[str, Contender],
    *,
    rate: float,
    blocks: int,
    until: float,
) -> dict[str, list[dict[str, Any]]]:
    """Contender → what became of each block."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        raise Unavailable(f"There was no time left to measure {endpoint}.")
    where = urlsplit(url)
    payload = {
        "host": where.hostname,
        "port": where.port,
        "rate": rate,
        "connections": CONNECTIONS,
        "block_s": BLOCK_S,
        "blocks": blocks,
        "contenders": [
            {
                "name": name,
                "path": f"/{quote(environment)}/v2/models/{quote(endpoint)}/infer",
                "headers": _headers(platform, environment, one, left_s),
                "bodies": one.bodies,
            }
            for name, one in contenders.items()
        ],
    }
    return _run(platform, endpoint, payload, left_s)


def _headers(
    platform: Platform, environment: str, contender: Contender, left_s: float
) -> dict[str, str]:
    expires = iso(platform.stores.clock.now() + timedelta(seconds=left_s + 60))
    probe = Probe(environment, contender.release, expires)
    return {"Content-Type": "application/json", HEADER: write_probe(probe, platform.key)}


def _run(
    platform: Platform, endpoint: str, payload: Mapping[str, Any], left_s: float
) -> dict[str, list[dict[str, Any]]]:
    parent = platform.root / "gates"
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="load-", dir=parent))
    try:
        (work / "input.json").write_text(json.dumps(payload))
        spec = TaskSpec(
            task_id=f"gate/load/{work.name}",
            kind=TaskKind.SCRIPT,
            source=Path(load_main.__file__).resolve(),
            input_path=work / "input.json",
            output_path=work / "output.json",
            work_dir=work,
            log_path=work / "log",
            environment=platform.environments.host(RequirementSet.of()),
            limits=Limits(timeout_s=left_s),
            is_light=True,
        )
        outcome = platform.runner.start(spec).result()
        if not outcome.succeeded:
            said = outcome.error.message if outcome.error else outcome.end.value
            raise Unavailable(f"Measuring {endpoint} did not come to its end: {said}")
        found: dict[str, list[dict[str, Any]]] = json.loads((work / "output.json").read_text())
        return found
    finally:
        shutil.rmtree(work, ignore_errors=True)
