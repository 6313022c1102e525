"""Outputs that a dataset declares with `from_output` become versions of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from seamline.app.data.ingest_source import fetching_folder
from seamline.app.platform import Platform
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.locations import parse_location
from seamline.data.refusals import record_refusal
from seamline.data.sources.batches import Delivery
from seamline.data.sources.folders import read_folder
from seamline.data.sources.objects import open_objects
from seamline.domain.digests import Digest
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.promote.environments import TRAINING
from seamline.store.facts import RecordedFact
from seamline.train.artifacts import Artifact, materialise
from seamline.train.options import read_options
from seamline.train.runs import run_output, show_request

_LOG = logging.getLogger("seamline.outputs")


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """Also of a run that failed in part: what a branch made is there (law 7). Not of a gate's,
    which asks for nothing of the kind: what is only being checked makes nothing that others
    read."""
    for declared in platform.declarations().datasets.values():
        pipeline, _, output = (declared.from_output or "").partition(".")
        if pipeline == fact.body["pipeline"] and _commits(platform, fact):
            _commit(platform, _of_environment(declared, fact.body["environment"]), output, fact)


def _commits(platform: Platform, fact: RecordedFact) -> bool:
    asked = show_request(platform.stores, fact.body["run_id"])["options"]
    return read_options(asked).commits


def _of_environment(declared: DatasetDeclaration, environment: str) -> DatasetDeclaration:
    """Each environment has tables of its own: NAME in dataops, NAME-ENVIRONMENT elsewhere."""
    if environment == TRAINING:
        return declared
    return replace(declared, name=f"{declared.name}-{environment}")


def _commit(
    platform: Platform, declaration: DatasetDeclaration, output: str, fact: RecordedFact
) -> None:
    """What cannot become a version is said as a fact, once: asking again would say the same, and
    hold up what follows. What passes (a full disk, say) is raised, and tried again."""
    run_id, name = fact.body["run_id"], declaration.name
    try:
        try:
            artifact = run_output(platform.stores, run_id, output)
        except Refused:
            return  # the run has not made it, and says so itself
        _take(platform, declaration, _bytes_of(artifact, output, run_id), fact)
    except (Refused, InvalidInput, NotFound, Conflict, DigestMismatch) as error:
        _LOG.warning("the output of run %s is no version of %s: %s", run_id, name, error)
        if "fact_id" not in error.details:
            source, told = f"run {run_id}", (error.message,)
            record_refusal(platform.stores, name, source, told, by=fact.by, caused_by=fact.id)


def _bytes_of(found: Any, output: str, run_id: str) -> Artifact:
    if isinstance(found, Artifact) and found.is_blob:
        return found
    raise InvalidInput(
        f"Output {output} of run {run_id} is no file or folder that Seamline keeps.",
        next_step="Declare an output that is one artifact, written at its path.",
    )


def _take(
    platform: Platform, declaration: DatasetDeclaration, artifact: Artifact, fact: RecordedFact
) -> None:
    run_id = fact.body["run_id"]
    bringer = Bringer(fact.by, run_id, fact.id)
    if artifact.is_directory:
        with _folder_of(platform, artifact, f"run {run_id}") as delivery:
            take_in(platform.stores, declaration, delivery, bringer)
        return
    path = platform.stores.blobs.verified_path(artifact.digest, f"output of run {run_id}")
    ingest(
        platform.stores,
        declaration,
        path,
        source=f"run {run_id}",
        by=bringer.by,
        run_id=bringer.run_id,
        caused_by=bringer.caused_by,
    )


@contextmanager
def _folder_of(platform: Platform, artifact: Artifact, name: str) -> Iterator[Delivery]:
    """A folder of files, as Spark writes one: known by the digest of its list of digests."""
    with fetching_folder(platform) as folder:
        laid_out, spooled = folder / "output", folder / "spooled"
        spooled.mkdir()
        materialise(platform.stores.blobs, artifact, laid_out)
        objects = open_objects(parse_location(f"file://{laid_out}"))
        delivery = read_folder(objects, spooled, is_whole=True)
        yield replace(delivery, name=name, digest=Digest(artifact.digest))
