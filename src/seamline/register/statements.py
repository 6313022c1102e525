"""What is stated of whatever is published: SLSA provenance v1, in one shape for all.

A statement names its subjects so that nothing can stand in for something else: a wheel by its file
name, a pipeline by repository and name, and by each tag that it was given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from seamline.domain.clock import iso
from seamline.register.images.references import images_of
from seamline.store.stores import Stores
from seamline.trust.image_statements import LOOKED_UP, image_subject
from seamline.trust.proof import pipeline_subject
from seamline.trust.signing import sign_statement

RUN = "urn:seamline:build:pipeline-run:1"
UPLOAD = "urn:seamline:build:upload:1"
RUNTIME, REGISTRY = "urn:seamline:runtime", "urn:seamline:registry"
PIPELINE, PACKAGE, MODEL, IMAGE = "pipeline", "package", "model", "image"
_GIT_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Material:
    """What something was made from; `digests` by algorithm, empty where none is known."""

    uri: str
    digests: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return (
            {"uri": self.uri, "digest": dict(self.digests)} if self.digests else {"uri": self.uri}
        )


@dataclass(frozen=True)
class Provenance:
    """How something came to be, before it is spelt as SLSA's predicate.

    `external`: what whoever asked for it chose; `internal`: what the platform added. `invocation`:
    the run, or who uploaded.
    """

    build_type: str
    builder: str
    external: Mapping[str, Any]
    invocation: str
    finished_at: str
    internal: Mapping[str, Any] = field(default_factory=dict)
    materials: tuple[Material, ...] = ()

    def predicate(self) -> dict[str, Any]:
        return {
            "buildDefinition": {
                "buildType": self.build_type,
                "externalParameters": dict(self.external),
                "internalParameters": dict(self.internal),
                "resolvedDependencies": [one.to_json() for one in self.materials],
            },
            "runDetails": {
                "builder": {"id": self.builder},
                "metadata": {"invocationId": self.invocation, "finishedOn": self.finished_at},
            },
        }


def sha256_material(uri: str, digest: str) -> Material:
    """
    >>> sha256_material("datasets://flights@7", "sha256:00ff").to_json()
    {'uri': 'datasets://flights@7', 'digest': {'sha256': '00ff'}}
    """
    return Material(uri, {"sha256": digest.removeprefix("sha256:")})


def commit_material(commit: str | None) -> tuple[Material, ...]:
    """A commit with changes on top, or one that is no digest, pins nothing.

    >>> commit_material("c0ffee"), commit_material(None)
    ((), ())
    """
    if commit is None or not _GIT_COMMIT.fullmatch(commit):
        return ()
    return (Material(f"git+commit:{commit}", {"gitCommit": commit}),)


def image_material(reference: str) -> Material:
    """
    >>> image_material("example.org/train@sha256:00ff").to_json()["digest"]
    {'sha256': '00ff'}
    >>> image_material("python:3.11").to_json()
    {'uri': 'oci://python:3.11'}
    """
    name, _, digest = reference.partition("@sha256:")
    return Material(f"oci://{name}", {"sha256": digest} if digest else {})


def state_pipeline(
    stores: Stores,
    tx: Connection,
    document: Mapping[str, Any],
    published: tuple[str, str, str],
    tags: Iterable[str],
    *,
    by: str,
    commit: str | None = None,
) -> None:
    """Part of publishing and of tagging. `published`: repository, package, digest; `document`:
    its IR (`load_ir`)."""
    repository, package, digest = published
    names = [None, *dict.fromkeys(tags)]
    subjects = {pipeline_subject(repository, package, name): digest for name in names}
    provenance = Provenance(
        UPLOAD,
        REGISTRY,
        external={
            "publisher": by,
            "repository": repository,
            "package": package,
            "tags": list(names[1:]),
            "commit": commit,
        },
        invocation=by,
        finished_at=iso(stores.clock.now()),
        materials=(*commit_material(commit), *map(image_material, images_of(document))),
    )
    sign_statement(stores, tx, PIPELINE, subjects, provenance.predicate())


def state_image(stores: Stores, tx: Connection, pipeline: str, reference: str, digest: str) -> None:
    """Part of noting what an image of a pipeline, by the pipeline's digest, stood for."""
    provenance = Provenance(
        LOOKED_UP,
        REGISTRY,
        external={"image": reference},
        invocation=pipeline,
        finished_at=iso(stores.clock.now()),
        materials=(sha256_material(f"oci://{reference.partition('@')[0]}", digest),),
    )
    subjects = {image_subject(reference): pipeline}
    sign_statement(stores, tx, IMAGE, subjects, provenance.predicate())


def state_package(
    stores: Stores, tx: Connection, filename: str, digest: str, named: tuple[str, str], *, by: str
) -> None:
    """Part of publishing a wheel that somebody uploaded. `named`: name and version."""
    provenance = Provenance(
        UPLOAD,
        REGISTRY,
        external={"publisher": by, "package": named[0], "version": named[1]},
        invocation=by,
        finished_at=iso(stores.clock.now()),
    )
    sign_statement(stores, tx, PACKAGE, {filename: digest}, provenance.predicate())


def describe_model(document: Mapping[str, Any]) -> dict[str, Any]:
    """The predicate of a model wheel: the run, its parameters, and its materials by digest."""
    lineage = document["lineage"]
    materials = [
        sha256_material(f"datasets://{one['name']}@{one['version']}", one["digest"])
        for one in lineage["dataset_versions"]
    ]
    pipeline = sha256_material(f"pipelines://{lineage['pipeline']}", lineage["pipeline_digest"])
    provenance = Provenance(
        RUN,
        RUNTIME,
        external={
            "pipeline": lineage["pipeline"],
            "arguments": lineage["arguments"],
            "item": lineage.get("item", {}),
        },
        internal={
            "commit": lineage["commit"],
            "requirements": document["requirements"],
            "executed": lineage.get("executed_digest"),
            "task": lineage.get("task"),
        },
        invocation=lineage["run_id"],
        finished_at=lineage["trained_at"],
        materials=(*materials, pipeline, *commit_material(lineage["commit"])),
    )
    return provenance.predicate()
