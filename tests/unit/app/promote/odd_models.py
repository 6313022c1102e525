"""Packaged models that behave: each brings its class along, so it does anything anywhere."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle

from seamline.domain.digests import digest_of
from seamline.register.formats.scan import scan_model
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel

from .running import RunningHouse

NAME = "late"
HOUR = {"name": "hour", "datatype": "FP64", "nullable": False}
OUTPUTS = ({"name": "prediction", "datatype": "FP64"},)


def make_estimator(waits_s: float = 0.0, megabytes: int = 0, asks_for: str = "") -> Any:
    """Doubles the hour; `asks_for` a module that happens to be installed, it triples it."""

    class Odd:
        takes = "numbers"

        def predict(self, rows: Any) -> Any:
            import importlib.util
            import time

            ballast = bytearray(megabytes << 20)
            ballast[::4096] = b"x" * len(ballast[::4096])
            time.sleep(waits_s)
            has_it = bool(asks_for) and importlib.util.find_spec(asks_for) is not None
            return rows[:, 0] * (3.0 if has_it else 2.0)

    return Odd()


def register(
    house: RunningHouse,
    version: str,
    *,
    inputs: Sequence[Mapping[str, Any]] = (HOUR,),
    outputs: Sequence[Mapping[str, Any]] = OUTPUTS,
    factor: float = 2.0,
    requirements: Sequence[str] = ("numpy", "cloudpickle"),
    **behaviour: Any,
) -> ModelVersion:
    """`factor`: what its sample rows say that it multiplies by."""
    payload = cloudpickle.dumps(make_estimator(**behaviour))
    rows = [{one["name"]: float(n) for one in inputs} for n in range(5)]
    described: dict[str, Any] = {
        "task": "regression",
        "format": "cloudpickle",
        "payload_digest": digest_of(payload),
        "threshold": None,
        "signature": {"inputs": list(inputs), "outputs": list(outputs)},
        "requirements": [f"{one}=={importlib.metadata.version(one)}" for one in requirements],
        "requires_python": ">=3.11",
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "trusted_types": [],
        "frame": None,
        "loading": scan_model(payload).to_json(),
    }
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document(NAME, version, described, lineage)
    said = {OUTPUTS[0]["name"]: [factor * n for n in range(5)]}
    wheel = build_model_wheel(ModelWheelSpec(document, {"rows": rows, "outputs": said}, payload))
    platform = house.platform
    return register_model_version(
        platform.stores, wheel, key=platform.key, by="ann", admitted=("cloudpickle",)
    )
