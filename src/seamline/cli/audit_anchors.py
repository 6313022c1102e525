"""Where anchors are kept: files, and annotated tags of a git repository."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from seamline.domain.errors import InvalidInput

_TAG = "seamline-audit-"


def read_bytes(path: Path) -> bytes:
    return path.read_bytes()


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """There when it is whole, or not at all; InvalidInput where nothing can be written."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            made = Path(file.name)
            try:
                yield file
                file.flush()
                made.chmod(0o644)
                made.replace(path)
            finally:
                made.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error


def tag_head(repository: Path, head: dict[str, Any]) -> str:
    """The tag's name; its message is the envelope. Whoever pushes it has anchored the ledger."""
    name = f"{_TAG}{head['chain_seq']}"
    if _git(repository, "tag", "--list", name).strip():
        return name  # made before: nothing was recorded since
    _git(repository, "tag", "--annotate", "--message", head["envelope"], name)
    return name


def tagged_heads(repository: Path) -> list[bytes]:
    """The envelopes of all such tags."""
    names = _git(repository, "tag", "--list", f"{_TAG}*").split()
    found = [
        _git(repository, "for-each-ref", "--format=%(contents)", f"refs/tags/{name}")
        for name in names
    ]
    if not found:
        raise InvalidInput(
            f"{repository} has no anchors.", next_step=f"seamline audit anchor --git {repository}"
        )
    return [text.strip().encode() for text in found]


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise InvalidInput("There is no git on this machine.") from error
    except subprocess.CalledProcessError as error:
        raise InvalidInput(f"git said: {error.stderr.strip()}") from error
    return done.stdout
