"""`datasets://…` and `models://…` → exactly those bytes, for the importer tasks of a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seamline.app.data.consume_dataset import check_input
from seamline.app.declarations import Declarations
from seamline.app.references import split_reference
from seamline.app.register.verify_artifact import require_model
from seamline.data.materialize import materialize, parse_dataset_uri
from seamline.data.splits.materialize import materialize_split
from seamline.data.splits.read import find_split
from seamline.data.versions.find import find_named
from seamline.domain.clock import new_id
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.promote.code import release_of_run
from seamline.promote.environments import TRAINING, live_release
from seamline.register.models.catalogue import ModelVersion, find_model_version
from seamline.store.stores import Stores
from seamline.train.engine.engine import ResolvedArtifact, RunContext

DATASETS, MODELS = "datasets://", "models://"


def resolve_uri(
    stores: Stores,
    uri: str,
    context: RunContext,
    declarations: Callable[[], Declarations] = Declarations,
) -> ResolvedArtifact:
    """Digests are checked at use (law 2); outside dataops a model is the release's (law 4).

    `declarations` say how a version is split that was not yet; without them, its dataset's own at
    the last delivery.
    """
    if uri.startswith(DATASETS):
        return _resolve_dataset(stores, uri, context, declarations)
    if uri.startswith(MODELS):
        named = uri.removeprefix(MODELS)
        model = find_model_for(stores, named, context.environment, context.run_id)
        return ResolvedArtifact(
            path=_wheel(stores, model),
            digest=model.wheel_digest,
            metadata={
                "model": model.model,
                "version": model.version,
                "module": model.document["module"],
            },
            uri=f"{MODELS}{model.model}@{model.version}",
        )
    raise InvalidInput(
        f"{uri!r} cannot be imported.",
        next_step="Write datasets://NAME@VERSION (or …/SPLIT), or models://NAME.",
    )


def _resolve_dataset(
    stores: Stores, uri: str, context: RunContext, declarations: Callable[[], Declarations]
) -> ResolvedArtifact:
    named = parse_dataset_uri(uri)
    version = find_named(stores, named)
    broken = check_input(stores, version)
    parent = stores.root / "cache" / "datasets"
    metadata: dict[str, Any] = {"dataset": version.dataset, "version": version.version}
    metadata |= {"contract_breaches": broken} if broken else {}
    if named.split is None:
        return ResolvedArtifact(
            path=materialize(stores, version, parent),
            digest=version.digest,
            metadata=metadata,
            uri=version.uri,
        )
    declared = declarations().datasets.get(version.dataset)
    split = find_split(stores, version, named.split, declared, by=context.requested_by)
    return ResolvedArtifact(
        path=materialize_split(stores, split, parent),
        digest=split.digest,
        metadata={**metadata, "version_digest": version.digest, "split": split.name},
        uri=split.uri,
    )


def find_model_for(
    stores: Stores, reference: str, environment: str, run_id: str | None = None
) -> ModelVersion:
    """NAME: what the run's environment holds; NAME@VERSION; NAME@ENVIRONMENT."""
    name, alias = split_reference(reference)
    with stores.db.read() as connection:
        is_training = environment == TRAINING
        here = None if is_training else release_of_run(connection, environment, run_id)
    if alias is not None and not alias[:1].isdigit() and alias != TRAINING:
        with stores.db.read() as connection:
            named = live_release(connection, alias)
        versions = {pin.name: pin.version for pin in named.release.packages} if named else {}
        if name not in versions:
            raise Refused(f"No release that holds {name} is live in {alias}.")
        alias = versions[name]
    if environment == TRAINING:
        return find_model_version(stores, name, None if alias == TRAINING else alias)
    pins = {pin.name: pin for pin in here.release.packages} if here else {}
    if name not in pins or (alias is not None and alias != pins[name].version):
        raise Refused(
            f"models://{reference} cannot be used in {environment}: its live release holds "
            f"{name} {pins[name].version}."
            if name in pins
            else f"models://{reference} cannot be used in {environment}: its live release does not "
            "hold it.",
            next_step="Make a release that holds it, and promote that.",
        )
    found = find_model_version(stores, name, pins[name].version)
    if found.wheel_digest != pins[name].digest:
        raise DigestMismatch(
            f"package {name} {found.version} of the live release",
            expected=pins[name].digest,
            actual=found.wheel_digest,
        )
    return found


def _wheel(stores: Stores, model: ModelVersion) -> Path:
    """The verified wheel under its own file name, as pip and zipimport want it."""
    require_model(stores, model)
    what = f"package {model.model} {model.version}"
    blob = stores.blobs.verified_path(model.wheel_digest, what)
    folder = stores.root / "cache" / "wheels" / model.wheel_digest.removeprefix("sha256:")
    target = folder / model.filename
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{new_id(stores.clock)}.partial"  # two tasks may want it at once
    shutil.copyfile(blob, partial)
    partial.replace(target)
    return target
