"""The key of the hashes that private columns are logged as: one a workspace."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def privacy_key_path(root: Path) -> Path:
    return root / "keys" / "privacy.key"


def load_or_create_privacy_key(path: Path) -> bytes:
    """32 random bytes, readable by the owner only; made once, by whoever comes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(file.name, path)
    return path.read_bytes()
