"""Everything that is known of some published bytes, for whoever wants to check them.

The platform checks them itself where it uses them (`require_statement`, `require_model`): what the
database says is published is believed only where the workspace's key, which is in no database,
has signed it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version
from sqlalchemy import select

from seamline.app.references import split_reference
from seamline.app.register.environment_pipelines import find_pipeline
from seamline.domain import facts
from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, Refused, SeamlineError, not_found
from seamline.register.images.rows import PIPELINE_IMAGES
from seamline.register.models.catalogue import ModelVersion
from seamline.register.packages.index import PUBLISHING, PackageFile, list_package_files
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.store.facts import RecordedFact, read_facts
from seamline.store.stores import Stores
from seamline.trust.key_history import read_history
from seamline.trust.keys import KEYS, PublicKey, load_or_create_key
from seamline.trust.proof import Outcome, Proof, examine, find_stated_images, pipeline_subject
from seamline.trust.signing import (
    check_signed,
    count_statements,
    find_statements,
    key_history,
    sealed_lists,
)

_PUBLISHED = (
    facts.PipelinePublished,
    facts.PackagePublished,
    facts.ModelVersionRegistered,
    facts.PipelineTagMoved,
    facts.PipelineVersionDeleted,
)


@dataclass(frozen=True)
class Artifact:
    """What a reference names: `subject` is how a statement has to call it; `path`: where the server
    gives out its bytes, if it has been told what it is."""

    digest: str
    subject: str | None
    path: str | None
    proof: Proof

    def to_json(self) -> dict[str, Any]:
        return {
            "digest": self.digest,
            "subject": self.subject,
            "path": self.path,
            "proof": self.proof.to_json(),
        }


def find_artifacts(
    stores: Stores, reference: str, *, repository: str = DEFAULT_REPOSITORY
) -> list[Artifact]:
    """NAME@TAG or NAME@sha256:… is a pipeline, NAME==VERSION the wheels of a package, sha256:… any
    bytes. NotFound names the nearest."""
    if reference.startswith("sha256:"):
        digest = str(parse_digest(reference))
        return [Artifact(digest, None, None, prove(stores, digest))]
    if "==" in reference:
        name, _, version = reference.partition("==")
        return [_of_wheel(stores, file) for file in _wheels(stores, name.strip(), version.strip())]
    name, tag = split_reference(reference)
    if tag is None:
        raise InvalidInput(
            f"{reference!r} names no version.",
            next_step=f"Write {name}@1.0.0 for a pipeline, {name}==1.0.0 for a package.",
        )
    found = find_pipeline(stores, name, tag, repository=repository)
    spelt = None if tag.startswith("sha256:") else tag
    return [
        Artifact(
            found.digest,
            pipeline_subject(repository, found.package, spelt),
            f"/kfp/registry/{repository}/{found.package}/{found.digest}",
            prove(stores, found.digest),
        )
    ]


def prove(stores: Stores, digest: str) -> Proof:
    """What this workspace says of bytes with this digest; whoever asks has to check it."""
    with stores.db.read() as connection:
        kinds = [kind.kind for kind in _PUBLISHED]
        told = read_facts(connection, kinds=kinds, mentioning=digest)
        here = PIPELINE_IMAGES.c.pipeline == digest
        columns = (PIPELINE_IMAGES.c.reference, PIPELINE_IMAGES.c.digest)
        images = {row[0]: row[1] for row in connection.execute(select(*columns).where(here))}
    return replace(_find_proof(stores, digest), facts=tuple(map(_say, told)), images=images)


def require_statement(stores: Stores, digest: str, subject: str, what: str) -> None:
    """Refused where no statement of this workspace says that `subject` is these bytes."""
    try:
        findings = examine(
            _find_proof(stores, digest), digest, subject=subject, pin=_key(stores).text
        )
    except SeamlineError as error:  # a statement's own bytes are gone, or others
        raise _unstated(what, error.message) from error
    for step in findings.steps:
        if step.outcome is Outcome.FAILS:
            raise _unstated(what, step.sentence)


def require_pipeline(
    stores: Stores, repository: str, package: str, version: str, digest: str
) -> None:
    """As `require_statement`: `version` is the tag that it was asked for by, or its digest."""
    tag = None if version.startswith("sha256:") else version
    subject = pipeline_subject(repository, package, tag)
    require_statement(stores, digest, subject, f"The pipeline {package}@{version}")


def stated_digests(stores: Stores, pipeline: str) -> dict[str, str]:
    """Image → digest, of the pipeline with this digest, where this workspace's key says so."""
    try:
        return find_stated_images(_find_proof(stores, pipeline), pipeline, _key(stores).text)
    except SeamlineError as error:
        raise _unstated(f"What the images of {pipeline} stand for", error.message) from error


def require_model(stores: Stores, found: ModelVersion) -> None:
    """As `require_statement`, of a model's wheel."""
    what = f"{found.model} {found.version}"
    try:
        check_signed(stores, found.statement_digest, found.wheel_digest, what, _key(stores))
    except SeamlineError as error:
        raise _unstated(what, error.message) from error


def _find_proof(stores: Stores, digest: str) -> Proof:
    with stores.db.read() as connection:
        stated = find_statements(connection, digest)
        keys = key_history(connection)
        sealed = sealed_lists(stores, connection) if len(keys) > 1 else {}
    envelopes = dict.fromkeys(one.statement for one in stated)
    return Proof(
        statements=tuple(stores.blobs.get(one, "statement").decode() for one in envelopes),
        keys=tuple(envelope.decode() for envelope in keys),
        sealed={name: data.decode() for name, data in sealed.items()},
    )


def _key(stores: Stores) -> PublicKey:
    """The platform's own: in its folder, apart from store and database."""
    return load_or_create_key(stores.root / KEYS).public


def _unstated(what: str, why: str) -> Refused:
    return Refused(
        f"{what} is not what this workspace published: {why}",
        next_step="Look at it with seamline verify. Did an earlier version of Seamline publish "
        "it? Then publish the same bytes again, which states it.",
    )


def list_keys(stores: Stores) -> list[dict[str, Any]]:
    """The checked history, with how many statements each key has signed; empty before the first."""
    with stores.db.read() as connection:
        told = key_history(connection)
        counts = count_statements(connection)
    if not told:
        return []
    history = read_history(told)
    found = []
    for entry in history.entries:
        end, key_id = history.end_of(entry.public), entry.public.key_id
        early = counts.get("", 0) if entry.number == 0 else 0
        found.append(
            {
                "number": entry.number,
                "key_id": key_id,
                "public_key": entry.public.text,
                "begins_at": entry.begins_at,
                "ended_at": end.begins_at if end else None,
                "statements": counts.get(key_id, 0) + early,
            }
        )
    return found


def show_history(stores: Stores) -> list[str]:
    """The signed entries, for whoever wants to check them."""
    with stores.db.read() as connection:
        return [envelope.decode() for envelope in key_history(connection)]


def _wheels(stores: Stores, name: str, version: str) -> Sequence[PackageFile]:
    wanted = canonicalize_name(name)
    files = list_package_files(stores, PUBLISHING, wanted)
    found = [
        file
        for file in files
        if canonicalize_version(file.version) == canonicalize_version(version)
    ]
    if not found:
        raise not_found(f"version of {wanted}", version, [file.version for file in files])
    return found


def _of_wheel(stores: Stores, file: PackageFile) -> Artifact:
    path = f"/pypi/{PUBLISHING}/files/{file.digest.removeprefix('sha256:')}/{file.filename}"
    return Artifact(file.digest, file.filename, path, prove(stores, file.digest))


def _say(fact: RecordedFact) -> str:
    return f"{fact.kind} of {fact.subject} by {fact.by} at {fact.at}"
