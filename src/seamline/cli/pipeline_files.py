"""`seamline pipeline pull|lock|outdated`: the bytes of published pipelines, and which were used."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from seamline.cli.command import Client, command, table
from seamline.cli.pipeline_options import in_repository
from seamline.cli.pipeline_words import say_outdated
from seamline.cli.proofs import check_pulled
from seamline.domain.digests import check_digest, short
from seamline.domain.errors import InvalidInput
from seamline.register.pipelines.lock_file import (
    LOCK_FILE,
    LockedPipeline,
    read_lock_file,
    update_lock,
    write_lock_file,
)

_LOCK_PATH = click.Path(path_type=Path)


@command()
@click.argument("reference", required=False, metavar="NAME@TAG")
@click.option("-o", "--output", type=_LOCK_PATH, help="File; default: NAME.yaml.")
@click.option("--locked", type=_LOCK_PATH, help="Fetch what this lock file pins, by digest.")
@click.option("-d", "--directory", type=_LOCK_PATH, default=Path(), help="Where to, as NAME.yaml.")
@in_repository
def pull(
    client: Client,
    reference: str | None,
    output: Path | None,
    locked: Path | None,
    directory: Path,
    repository: str,
) -> tuple[Any, str]:
    """Fetch a pipeline, byte for byte, verified by its digest and the workspace's signature.

    With --locked, all or nothing: no file is written before every one was verified.
    """
    if (reference is None) == (locked is None) or (locked and output):
        raise click.UsageError("Give NAME@TAG (and -o FILE), or --locked FILE (and -d FOLDER).")
    if locked is not None:
        pins: Sequence[LockedPipeline] = read_lock_file(locked)
    else:
        pins = [_pin(client, reference or "", repository)]
    fetched = [(pin, _fetch(client, pin, reference or f"{pin.name}@{pin.digest}")) for pin in pins]
    rows = []
    for pin, data in fetched:
        path = output or directory / f"{pin.name}.yaml"
        _write(path, data)
        rows.append({"name": pin.name, "tag": pin.tag, "digest": pin.digest, "file": str(path)})
    return rows, table(rows, ["name", "tag", "digest", "file"], "The lock file is empty.")


@command()
@click.argument("references", nargs=-1, required=True, metavar="NAME@TAG…")
@click.option("--file", "path", type=_LOCK_PATH, default=Path(LOCK_FILE), show_default=True)
@in_repository
def lock(
    client: Client, references: tuple[str, ...], path: Path, repository: str
) -> tuple[Any, str]:
    """Write which bytes these tags stand for now; other entries of the file stay as they are."""
    new = [_pin(client, reference, repository) for reference in references]
    before = read_lock_file(path) if path.exists() else ()
    write_lock_file(path, update_lock(before, new))
    rows = [one.to_json() for one in new]
    return rows, table(rows, ["name", "repository", "tag", "digest"], "Nothing was locked.")


@command()
@click.argument("path", type=_LOCK_PATH, default=Path(LOCK_FILE), metavar="[LOCKFILE]")
def outdated(client: Client, path: Path) -> tuple[Any, str]:
    """Newer versions of what a lock file pins, and whether they fit those who use the pinned."""
    pins = [
        {"name": one.name, "tag": one.tag, "digest": one.digest, "repository": one.repository}
        for one in read_lock_file(path)
    ]
    rows = client.post("/outdated-pipelines", {"pipelines": pins})
    return rows, say_outdated(rows)


def _pin(client: Client, reference: str, repository: str) -> LockedPipeline:
    name, _, tag = reference.partition("@")
    if not tag:
        raise InvalidInput(
            f"{reference!r} names no tag.", next_step=f"Write {name or 'NAME'}@1.0.0, for one."
        )
    found = client.get(f"/pipelines/{reference}", repository=repository)
    called = short(tag) if tag.startswith("sha256:") else tag
    return LockedPipeline(
        found["package"], repository, called, found["digest"], found["interface_digest"]
    )


def _fetch(client: Client, pin: LockedPipeline, asked: str) -> bytes:
    """By digest, and verified here, as is the signed statement that these bytes are what was asked
    for: the server is not asked to be believed."""
    file = io.BytesIO()
    client.download(f"/kfp/registry/{pin.repository}/{pin.name}/{pin.digest}", file)
    data = check_digest(file.getvalue(), pin.digest, f"pipeline {pin.name}")
    check_pulled(client, asked, pin.digest, repository=pin.repository)
    return data


def _write(path: Path, data: bytes) -> None:
    """The old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
