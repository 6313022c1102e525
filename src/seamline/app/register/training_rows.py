"""The rows that a model was trained on: their profile, and some of them for its twin."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from seamline.app.platform import Platform
from seamline.app.register.run_models import MadeModel, Source
from seamline.domain.errors import InvalidInput, SeamlineError, not_found
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.store.canonical import canonical_json
from seamline.train.artifacts import Artifact
from seamline.train.views.rounds import list_made

DAY = "ds"
#: What JSON has, too: columns of other types are no inputs of a model.
_SIMPLE = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)


def profile_training(
    platform: Platform, source: Source, made: MadeModel, inputs: list[str]
) -> str | None:
    """A blob {basis, total, days}: the training rows day by day, on a basis of their own."""
    if source.profile is None:
        return None
    stores, run_id = platform.stores, source.run_id
    path, artifact = _find(platform, source, made)
    if artifact is None:
        raise not_found(f"artifact of task {path!r} of run {run_id}", source.profile.name)
    data = stores.blobs.get(artifact.digest, f"training rows of run {run_id}")
    try:
        rows = pl.read_parquet(io.BytesIO(data), columns=[*inputs, DAY])
    except (pl.exceptions.PolarsError, SeamlineError) as error:
        raise InvalidInput(
            f"{path}.{source.profile.name} of run {run_id} lacks the model's inputs or {DAY!r}: "
            f"{error}"
        ) from error
    features = rows.select(inputs)
    basis = make_basis(features)
    days = profile_partitions(features, basis, rows[DAY].cast(pl.String))
    document = {
        "basis": basis.to_json(),
        "total": sum_profiles(list(days.values())).to_json(),
        "days": {day: profile.to_json() for day, profile in sorted(days.items())},
    }
    return stores.blobs.put(canonical_json(document))


def write_training_rows(
    platform: Platform, source: Source, made: MadeModel, target: Path, limit: int
) -> bool:
    """JSON lines: evenly spread over all training rows. False where the run names none that can
    be read; what is wrong with them the profile says."""
    if source.profile is None:
        return False
    _, artifact = _find(platform, source, made)
    if artifact is None or artifact.is_directory:
        return False
    what = f"training rows of run {source.run_id}"
    try:
        rows = pl.read_parquet(io.BytesIO(platform.stores.blobs.get(artifact.digest, what)))
    except pl.exceptions.PolarsError:
        return False
    simple = [name for name, kind in rows.schema.items() if kind.is_numeric() or kind in _SIMPLE]
    spread = rows.select(simple).gather_every(max(1, -(-rows.height // limit)))
    spread.write_ndjson(target)
    return spread.height > 0


def _find(platform: Platform, source: Source, made: MadeModel) -> tuple[str, Artifact | None]:
    assert source.profile is not None
    path = made.member.round.beside(source.profile.path)
    made_there = list_made(platform.stores, source.run_id, source.profile.path, source.profile.name)
    return path, made_there.get(path)
