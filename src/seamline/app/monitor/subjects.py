"""The model versions whose answers a monitor measures, and what each is held against."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import polars as pl

from seamline.app.platform import Platform
from seamline.evaluate.evaluations import Evaluation, latest_evaluation
from seamline.measure.basis import Basis
from seamline.measure.evaluation.vocabulary import Task
from seamline.measure.profiles import Profile
from seamline.monitor.drift import DriftReference
from seamline.monitor.outputs import OutputDay, OutputSpec, profile_outputs
from seamline.register.models.catalogue import ModelVersion, find_model_version


class _Kept(msgspec.Struct):
    """A profile of training rows; what nobody asks for is not read."""

    basis: dict[str, Any]
    total: dict[str, Any]
    days: dict[str, msgspec.Raw]


class _Days(Mapping[str, Profile]):
    """Day by day, read when the first of them is asked for: most models need no more than the
    whole, and their number. Of `only` these columns, if that is given."""

    def __init__(
        self, kept: Mapping[str, msgspec.Raw], basis: Basis, only: Collection[str] | None
    ) -> None:
        self._kept, self._basis, self._only = kept, basis, only

    @functools.cached_property
    def _read(self) -> dict[str, Profile]:
        return {
            day: Profile.from_json(msgspec.json.decode(one), self._basis, self._only)
            for day, one in self._kept.items()
        }

    def __getitem__(self, day: str) -> Profile:
        return self._read[day]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


@dataclass(frozen=True)
class Subject:
    """A model version that answered; its references are read when they are asked for."""

    platform: Platform = field(repr=False)
    version: ModelVersion
    proved: Evaluation | None

    @property
    def task(self) -> Task:
        return Task.REGRESSION if self.version.document["task"] == "regression" else Task.BINARY

    @property
    def prediction(self) -> str:
        return "prediction" if self.task is Task.REGRESSION else "score"

    @property
    def threshold(self) -> float | None:
        threshold: float | None = self.version.document["threshold"]
        return threshold

    @property
    def predictions_digest(self) -> str | None:
        """Of what it predicted when it was proved."""
        return (
            None if self.proved is None else self.proved.evidence["candidate"]["predictions_digest"]
        )

    def columns_of(self, part: str) -> dict[str, str]:
        """Names and datatypes of its `inputs` or `outputs`."""
        return {one["name"]: one["datatype"] for one in self.version.document["signature"][part]}

    def drift(self, by_day: Collection[str] | None = None) -> DriftReference | None:
        """`by_day`: the columns that are needed day by day; None: all."""
        digest = self.version.document["profile_digest"]
        if digest is None:
            return None
        what = f"training profile of {self.version.model} {self.version.version}"
        kept = msgspec.json.decode(self.platform.stores.blobs.get(digest, what), type=_Kept)
        basis = Basis.from_json(kept.basis)
        whole = Profile.from_json(kept.total, basis)
        return DriftReference(whole, _Days(kept.days, basis, by_day))

    def outputs(self) -> dict[str, OutputDay]:
        """What it predicted, day by day, when it was proved."""
        digest = self.predictions_digest
        if self.proved is None or digest is None:
            return {}
        what = f"predictions of evaluation {self.proved.id}"
        kept = pl.read_parquet(self.platform.stores.blobs.verified_path(digest, what))
        if self.prediction not in kept.columns:
            return {}
        return profile_outputs(kept, OutputSpec(self.prediction, self.threshold))


def find_subject(platform: Platform, model: str, number: str) -> Subject:
    version = find_model_version(platform.stores, model, number)
    return Subject(platform, version, latest_evaluation(platform.stores, model, number))
