"""The key of the hashes that private columns are logged as: one a workspace."""

from __future__ import annotations

import os
from pathlib import Path


def privacy_key_path(root: Path) -> Path:
    return root / "keys" / "privacy.key"


def load_or_create_privacy_key(path: Path) -> bytes:
    """32 random bytes, readable by the owner only; made once, by whoever comes first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
        ) as file:
            file.write(os.urandom(32))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    return path.read_bytes()
