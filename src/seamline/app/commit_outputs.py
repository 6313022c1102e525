"""Outputs that a dataset declares with `from_output` become versions of it."""

from __future__ import annotations

import logging
from dataclasses import replace

from seamline.app.platform import Platform
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.promote.environments import TRAINING
from seamline.store.facts import RecordedFact
from seamline.train.artifacts import Artifact
from seamline.train.runs import run_output

_LOG = logging.getLogger("seamline.outputs")


def on_run_ended(platform: Platform, fact: RecordedFact) -> None:
    """Also of a run that failed in part: what a branch made is there (law 7)."""
    for declaration in platform.declarations().datasets.values():
        pipeline, _, output = (declaration.from_output or "").partition(".")
        if pipeline != fact.body["pipeline"]:
            continue
        try:
            artifact = run_output(platform.stores, fact.body["run_id"], output)
        except (NotFound, Refused):
            continue  # this run did not make it
        if isinstance(artifact, Artifact) and artifact.is_blob and not artifact.is_directory:
            _commit(platform, declaration, artifact, fact)


def _commit(
    platform: Platform, declaration: DatasetDeclaration, artifact: Artifact, fact: RecordedFact
) -> None:
    """Each environment has tables of its own: NAME in dataops, NAME-ENVIRONMENT elsewhere."""
    environment = fact.body["environment"]
    name = declaration.name if environment == TRAINING else f"{declaration.name}-{environment}"
    run_id = fact.body["run_id"]
    try:
        path = platform.stores.blobs.verified_path(artifact.digest, f"output of run {run_id}")
        ingest(
            platform.stores,
            replace(declaration, name=name),
            path,
            source=f"run {run_id}",
            by=fact.by,
            run_id=run_id,
            caused_by=fact.id,
        )
    except (Refused, InvalidInput, NotFound, Conflict, DigestMismatch) as error:
        # Refused deliveries are facts; asking again would say the same, and hold up what follows.
        _LOG.warning("the output of run %s is no version of %s: %s", run_id, name, error)
