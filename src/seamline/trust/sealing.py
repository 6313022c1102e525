"""Bytes sealed for keeping on disk: AES-256-GCM, under a key that lies beside the signing key.

What is sealed for one place does not open in another: the place is part of what is authenticated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from seamline.domain.errors import MachineryError

KEY_FILE = "sealing.key"
KEY_BYTES = 32
#: The first bytes of a sealed file: format 1.
_MARK = b"SLS1"
_NONCE_BYTES = 12


@dataclass(frozen=True)
class SealingKey:
    raw: bytes = field(repr=False)

    def seal(self, plain: bytes, place: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return _MARK + nonce + AESGCM(self.raw).encrypt(nonce, plain, place.encode())

    def open(self, sealed: bytes, place: str, what: str) -> bytes:
        """Raises MachineryError, naming `what`, unless this key sealed it for this place.

        >>> key = SealingKey(bytes(32))
        >>> key.open(key.seal(b"hush", "here"), "here", "The letter")
        b'hush'
        """
        nonce, rest = sealed[4 : 4 + _NONCE_BYTES], sealed[4 + _NONCE_BYTES :]
        try:
            if sealed[:4] != _MARK:
                raise InvalidTag
            return AESGCM(self.raw).decrypt(nonce, rest, place.encode())
        except (InvalidTag, ValueError):
            # From None: nothing of what was tried belongs into a traceback.
            raise MachineryError(
                f"{what} cannot be opened: it was altered, or sealed with another key.",
                next_step="Restore keys/ and secrets/ from the same backup, or set it again.",
            ) from None


def load_sealing_key(folder: Path, *, may_create: bool) -> SealingKey:
    """`folder/sealing.key` (0600); made at first use, and only while nothing is sealed yet.

    Whoever lets it be made holds the lock under which things are sealed.
    """
    path = folder / KEY_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        if not may_create:
            raise MachineryError(
                f"{path} is missing: what was sealed with it cannot be opened.",
                next_step="Restore keys/ from a backup, or delete the secrets and set them again.",
            ) from None
        folder.mkdir(parents=True, exist_ok=True)
        raw = os.urandom(KEY_BYTES)
        write_private(path, raw)
    if len(raw) != KEY_BYTES:
        raise MachineryError(
            f"{path} is no key: it has {len(raw)} bytes, not {KEY_BYTES}.",
            next_step="Restore keys/ from a backup.",
        )
    return SealingKey(raw)


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, durable once returned, and for its owner only (0600).

    One writer at a time; what a killed one left unfinished is replaced.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
