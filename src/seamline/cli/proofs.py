"""Check what a server hands out, on the side of whoever gets it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import click
from packaging.utils import (
    InvalidWheelFilename,
    canonicalize_name,
    canonicalize_version,
    parse_wheel_filename,
)

from seamline.cli.client import Client
from seamline.cli.pins import pinned_key, pins_path
from seamline.domain.errors import DigestMismatch, Refused
from seamline.trust.proof import Findings, examine, pipeline_subject, proof_from_json, require

DEFAULT_REPOSITORY = "default/main"


def pin_here() -> str | None:
    """The key that whoever runs this command has pinned for the workspace that it speaks to."""
    return pinned_key(click.get_current_context().find_root().obj, pins_path(os.environ))


def check_pulled(
    client: Client, reference: str, digest: str, *, repository: str = DEFAULT_REPOSITORY
) -> None:
    """Refused unless bytes with this digest are what the reference (NAME@TAG, NAME@sha256:…,
    NAME==VERSION) names, by the workspace's signature.

    Without a pinned key, what was published before there were statements is let through, with a
    note on stderr.
    """
    found = client.get("/artifacts", reference=reference, repository=repository)
    pin = pin_here()
    for artifact in found:
        if artifact["digest"] == digest:
            if pin is None and not artifact["proof"]["statements"]:
                sys.stderr.write(f"note: nothing signed speaks of {reference} ({digest})\n")
                return
            require(examine_artifact(artifact, digest, reference, repository, pin), reference)
            return
    listed = ", ".join(artifact["digest"] for artifact in found)
    raise Refused(
        f"{reference} is {listed}; what came is {digest}.",
        next_step="Get it again; if it stays so, ask who runs the workspace.",
    )


def examine_artifact(
    artifact: Mapping[str, Any], digest: str, reference: str, repository: str, pin: str | None
) -> Findings:
    """Of bytes whose digest was computed here. What a statement has to be about follows from what
    was asked for, never from what the server says."""
    asked = reference.rpartition("@")[2]
    if asked.startswith("sha256:") and asked != digest:
        raise DigestMismatch(reference, expected=asked, actual=digest)
    proof = proof_from_json(artifact["proof"])
    subject = _subject(reference, repository, str(artifact.get("subject") or ""))
    return examine(proof, digest, subject=subject, pin=pin)


def _subject(reference: str, repository: str, told: str) -> str | None:
    if reference.startswith("sha256:"):
        return None
    name, _, version = reference.partition("==")
    if version:
        return _wheel_of(name, version, told)
    package, _, tag = reference.partition("@")
    return pipeline_subject(repository, package, None if tag.startswith("sha256:") else tag)


def _wheel_of(name: str, version: str, filename: str) -> str:
    """The file name that the server told, when it is one of that package's version."""
    try:
        found = parse_wheel_filename(filename)
    except InvalidWheelFilename as error:
        raise Refused(f"The server answers {filename!r} for {name}=={version}.") from error
    is_other = canonicalize_name(name) != found[0]
    is_other |= canonicalize_version(version) != canonicalize_version(found[1])
    if is_other:
        raise Refused(f"The server answers {filename} for {name}=={version}.")
    return filename
