"""`datasets://…`, `models://…`, `evaluations://…` → exactly those bytes, for importer tasks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seamline.app.data.consume_dataset import check_input
from seamline.app.declarations import Declarations
from seamline.app.references import split_reference
from seamline.app.register.model_aliases import find_model, find_pinned, pin_of
from seamline.app.register.verify_artifact import require_model
from seamline.app.train.resolve_family import is_family, resolve_family
from seamline.data.materialize import materialize, parse_dataset_uri
from seamline.data.splits.materialize import materialize_split
from seamline.data.splits.read import find_split
from seamline.data.versions.find import find_named
from seamline.domain.clock import new_id
from seamline.domain.errors import InvalidInput, Refused
from seamline.evaluate.evaluations import find_evaluation
from seamline.promote.environments import TRAINING, live_release
from seamline.promote.release import StoredRelease, find_release
from seamline.register.models.catalogue import ModelVersion
from seamline.store.stores import Stores
from seamline.train.engine.engine import ResolvedArtifact, RunContext

DATASETS, MODELS = "datasets://", "models://"
#: EVALUATION's id → the predictions that it judged, as one Parquet file.
EVALUATIONS = "evaluations://"


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
        reference = uri.removeprefix(MODELS)
        name, alias = split_reference(reference)
        if is_family(stores, name):
            is_here = context.environment == TRAINING
            here = None if is_here else _admitting(stores, context.environment, context.release)
            return resolve_family(stores, name, alias, context.environment, here)
        model = find_model_for(stores, reference, context.environment, context.release)
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
    if uri.startswith(EVALUATIONS):
        return _resolve_predictions(stores, uri, context)
    raise InvalidInput(
        f"{uri!r} cannot be imported.",
        next_step="Write datasets://NAME@VERSION (or …/SPLIT), models://NAME, or evaluations://ID.",
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


def _resolve_predictions(stores: Stores, uri: str, context: RunContext) -> ResolvedArtifact:
    """Outside dataops only of models that the admitting release holds: others' are not its own."""
    found = find_evaluation(stores, uri.removeprefix(EVALUATIONS))
    if context.environment != TRAINING:
        here = _admitting(stores, context.environment, context.release)
        if here is None or found.wheel_digest not in {pin.digest for pin in here.release.packages}:
            raise Refused(
                f"{uri} cannot be used in {context.environment}: its "
                f"{_say_release(here, context.release)} does not hold {found.model} "
                f"{found.model_version}.",
                next_step="Name an evaluation of a model that the release holds.",
            )
    digest = str(found.evidence["candidate"]["predictions_digest"])
    path = stores.blobs.verified_path(digest, f"predictions of {uri}")
    metadata = {"evaluation": found.id, "model": found.model, "version": found.model_version}
    return ResolvedArtifact(path=path, digest=digest, metadata=metadata, uri=uri)


def find_model_for(
    stores: Stores, reference: str, environment: str, release: str | None = None
) -> ModelVersion:
    """NAME: what the run's environment holds; NAME@VERSION; NAME@ENVIRONMENT.

    `release`: the one that admitted the run, which goes on with it whatever is promoted meanwhile;
    without, the one that is live now.
    """
    name, alias = split_reference(reference)
    if environment == TRAINING:
        return find_model(stores, name, alias)
    here = _admitting(stores, environment, release)
    pin = pin_of(here, name)
    if here is None or pin is None:
        raise Refused(
            f"models://{reference} cannot be used in {environment}: its "
            f"{_say_release(here, release)} does not hold it.",
            next_step="Make a release that holds it, and promote that.",
        )
    wanted = alias if alias in (None, environment, pin.version) else _version(stores, name, alias)
    if wanted not in (None, environment, pin.version):
        raise Refused(
            f"models://{reference} ({wanted}) cannot be used in {environment}: its "
            f"{_say_release(here, release)} holds {name} {pin.version}.",
            next_step="Make a release that holds it, and promote that.",
        )
    return find_pinned(stores, pin, here)


def _admitting(stores: Stores, environment: str, release: str | None) -> StoredRelease | None:
    with stores.db.read() as connection:
        if release is not None:
            return find_release(connection, release)
        return live_release(connection, environment)


def _version(stores: Stores, name: str, alias: str) -> str:
    """What another environment's name stands for; any other version is itself."""
    return alias if alias[:1].isdigit() else find_model(stores, name, alias).version


def _say_release(here: StoredRelease | None, admitted_by: str | None) -> str:
    if here is None or admitted_by is None:
        return "live release"
    return f"release {here.alias}, with which the run was admitted,"


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
