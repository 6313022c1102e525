"""What a client asks to be run, as IR and the name that it goes by in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from seamline.app.platform import Platform
from seamline.app.train.run_schedule import read_pipeline
from seamline.domain.errors import InvalidInput, Refused
from seamline.protocols.kfp_api.catalogue import find_by_id, find_version, spec_bytes
from seamline.protocols.kfp_api.experiments import experiment_of
from seamline.protocols.kfp_api.shapes import Source
from seamline.train.experiments import Experiment
from seamline.train.schedule.schedules import PipelineChoice
from seamline.train.views.listing import Storage


@dataclass(frozen=True)
class Wanted:
    experiment: Experiment
    choice: PipelineChoice

    @property
    def environment(self) -> str:
        return self.experiment.environment


def read_source(platform: Platform, body: Source, experiment_id: str | None, *, by: str) -> Wanted:
    """Refused for an archived experiment; InvalidInput when there is not exactly one source."""
    experiment = experiment_of(platform, body.experiment_id or experiment_id, by=by)
    if experiment.storage is not Storage.AVAILABLE:
        raise Refused(
            f"The experiment {experiment.name!r} is archived.",
            next_step="Unarchive it, or choose another one.",
        )
    if (body.pipeline_spec is None) == (body.pipeline_version_reference is None):
        raise InvalidInput(
            "Give either a pipeline_spec or a pipeline_version_reference.",
        )
    return Wanted(experiment, _choose(platform, body))


def _choose(platform: Platform, body: Source) -> PipelineChoice:
    stores, reference = platform.stores, body.pipeline_version_reference
    if body.pipeline_spec is not None:
        return PipelineChoice(digest=stores.blobs.put(spec_bytes(body.pipeline_spec)))
    if reference is None or not reference.pipeline_id:
        raise InvalidInput("The pipeline_version_reference names no pipeline_id.")
    if not reference.pipeline_version_id:
        return PipelineChoice(find_by_id(stores, reference.pipeline_id).package)
    version = find_version(stores, reference.pipeline_id, reference.pipeline_version_id)
    return PipelineChoice(version.package, digest=version.digest)


def read_ir(platform: Platform, wanted: Wanted) -> tuple[bytes, str | None]:
    """The bytes that it stands for now, and their reference (None: nobody has published them)."""
    choice = wanted.choice
    digest, ir = read_pipeline(platform, choice, wanted.environment)
    return ir, f"{choice.package}@{digest}" if choice.package else None
