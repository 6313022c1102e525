"""Bundle model versions and pipelines into a release, with what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from seamline.app.platform import Platform
from seamline.app.references import split_reference
from seamline.app.register.environment_pipelines import find_live_pin
from seamline.app.register.model_aliases import find_model
from seamline.app.register.resolve_images import pin_images
from seamline.app.register.verify_artifact import require_model, require_pipeline
from seamline.app.train.submit_run import find_pipeline_by_reference
from seamline.domain.errors import InvalidInput
from seamline.promote.release import Pin, Release, StoredRelease, record_release
from seamline.register.models.catalogue import ModelVersion
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.store.canonical import canonical_json


def make_release(
    platform: Platform,
    alias: str,
    models: Sequence[str],
    pipelines: Sequence[str],
    *,
    by: str,
    caused_by: str | None = None,
) -> StoredRelease:
    """`models`: NAME or NAME@VERSION; `pipelines`: NAME@TAG. All must be stored."""
    if not models and not pipelines:
        raise InvalidInput(
            "A release of nothing says nothing.", next_step="Name a --model or a --pipeline."
        )
    stores = platform.stores
    versions = [find_model(stores, *split_reference(name)) for name in models]
    for one in versions:
        require_model(stores, one)
    packages = tuple(Pin(one.model, one.version, one.wheel_digest) for one in versions)
    pinned = tuple(_pipeline_pin(platform, reference) for reference in pipelines)
    _check_once("model", packages)
    _check_once("pipeline", pinned)
    release = Release(
        packages=packages,
        pipelines=pinned,
        images=tuple(pin for one in pinned for pin in _image_pins(platform, one)),
        locks=tuple(_document_pin(platform, one, "requirements") for one in versions),
        contracts=tuple(_document_pin(platform, one, "signature") for one in versions),
        datasets=tuple(pin for one in versions for pin in _dataset_pins(one)),
    )
    return record_release(stores, release, alias, by=by, caused_by=caused_by)


def _check_once(kind: str, pins: Sequence[Pin]) -> None:
    """NAME@production is one version.

    >>> _check_once("model", [Pin("late", "1.0.0", "sha256:0"), Pin("late", "1.0.0", "sha256:0")])
    """
    found: dict[str, Pin] = {}
    for pin in pins:
        other = found.setdefault(pin.name, pin)
        if other.digest != pin.digest:
            raise InvalidInput(
                f"A release holds one version of each {kind}: {pin.name} comes as {other.version} "
                f"and as {pin.version}.",
                next_step="Leave one of them out.",
            )


def _pipeline_pin(platform: Platform, reference: str) -> Pin:
    found = find_pipeline_by_reference(platform, reference)
    tag = reference.partition("@")[2]
    live = find_live_pin(platform.stores, found.package, tag)
    if live is not None and live.pin is not None:
        tag = live.pin.version  # a release holds no environment's name
    require_pipeline(platform.stores, DEFAULT_REPOSITORY, found.package, tag, found.digest)
    return Pin(found.package, tag, found.digest)


def _image_pins(platform: Platform, pipeline: Pin) -> list[Pin]:
    what = f"{pipeline.name}@{pipeline.version}"
    found = pin_images(platform.stores, pipeline.digest, what)
    return [Pin(f"{one.registry}/{one.name}", one.tag, digest) for one, digest in found]


def _document_pin(platform: Platform, version: ModelVersion, part: str) -> Pin:
    value: Any = version.document[part]
    digest = platform.stores.blobs.put(canonical_json(value))
    return Pin(version.model, version.version, digest)


def _dataset_pins(version: ModelVersion) -> list[Pin]:
    used = version.document["lineage"]["dataset_versions"]
    return [Pin(one["name"], str(one["version"]), one["digest"]) for one in used]
