"""Artifacts between tasks: kept as blobs, handed to a task as verified, read-only copies."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from seamline.domain.digests import Digest
from seamline.domain.errors import DigestMismatch, InvalidInput, MachineryError, not_found
from seamline.store.blobs import CHUNK_BYTES, Blobs
from seamline.store.canonical import canonical_json
from seamline.train.ir.values import presentable

_READ_ONLY_FILE = 0o444


@dataclass(frozen=True)
class Artifact:
    """What a task made or an importer found; flows to the tasks that read it."""

    id: str
    name: str
    schema_type: str
    digest: str
    size_bytes: int
    is_directory: bool
    is_blob: bool
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def show_artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "id": artifact.id,
        "name": artifact.name,
        "type": artifact.schema_type,
        "digest": artifact.digest,
        "size_bytes": artifact.size_bytes,
        "is_directory": artifact.is_directory,
        "uri": artifact.uri,
        "metadata": presentable(dict(artifact.metadata)),
    }


@dataclass(frozen=True)
class StoredBytes:
    digest: Digest
    size_bytes: int
    is_directory: bool


def store_path(blobs: Blobs, path: Path) -> StoredBytes:
    """A file becomes a blob; a directory becomes one blob per file and a manifest blob."""
    if not path.is_dir():
        return StoredBytes(blobs.put_file(path), path.stat().st_size, is_directory=False)
    manifest: dict[str, str] = {}
    size_bytes = 0
    for file in _files_below(path):
        manifest[file.relative_to(path).as_posix()] = blobs.put_file(file)
        size_bytes += file.stat().st_size
    return StoredBytes(blobs.put(canonical_json(manifest)), size_bytes, is_directory=True)


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, folders, files in os.walk(folder):
        for name in folders:
            if Path(parent, name).is_symlink():
                raise InvalidInput(
                    f"The output directory holds the symbolic link {name!r} to a directory.",
                    next_step="Copy the files into the output instead.",
                )
        for name in files:
            file = Path(parent, name)
            if not file.is_file():
                raise InvalidInput(f"The output directory holds {name!r}, which is no file.")
            found.append(file)
    return sorted(found)


def materialise(blobs: Blobs, artifact: Artifact, target: Path) -> None:
    """Copies the artifact to `target`, read-only; the copied bytes are the hashed ones (law 2).

    Raises DigestMismatch naming both digests, or NotFound.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    what = f"artifact {artifact.uri}"
    if not artifact.is_directory:
        copy_verified(blobs, artifact.digest, target, what)
        return
    target.mkdir()
    for relative, digest in read_manifest(blobs, artifact).items():
        place = PurePosixPath(relative)
        if place.is_absolute() or ".." in place.parts:
            raise MachineryError(f"The manifest of {what} names {relative!r}, outside of it.")
        file = target / place
        file.parent.mkdir(parents=True, exist_ok=True)
        copy_verified(blobs, digest, file, f"{what}, file {relative}")


def read_manifest(blobs: Blobs, artifact: Artifact) -> dict[str, str]:
    manifest: dict[str, str] = json.loads(blobs.get(artifact.digest, f"artifact {artifact.uri}"))
    return manifest


def copy_verified(blobs: Blobs, digest: str, target: Path, what: str) -> None:
    """Hashes what it copies while it copies; nothing is left at `target` when it differs."""
    hasher = hashlib.sha256()
    try:
        source = blobs.path_of(digest).open("rb")
    except FileNotFoundError:
        raise not_found(what, digest) from None
    with source, target.open("wb") as copy:
        while chunk := source.read(CHUNK_BYTES):
            hasher.update(chunk)
            copy.write(chunk)
    actual = "sha256:" + hasher.hexdigest()
    if actual != digest:
        target.unlink()
        raise DigestMismatch(what, expected=digest, actual=actual)
    target.chmod(_READ_ONLY_FILE)


def metadata_bytes(metadata: Mapping[str, Any]) -> bytes:
    """What stands for a Metrics artifact, whose content is its metadata.

    >>> metadata_bytes({"b": 1, "a": 2})
    b'{"a":2,"b":1}'
    """
    return json.dumps(metadata, sort_keys=True, separators=(",", ":")).encode()
