"""The workspace's Ed25519 key: made once, kept readable by its owner only."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from seamline.domain.errors import MachineryError


@dataclass(frozen=True)
class PublicKey:
    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """First 16 hex digits of the sha256 of the raw public key."""
        raw = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()[:16]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        try:
            self.key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        return PublicKey(self.key.public_key())

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def load_or_create_key(folder: Path) -> SigningKey:
    """`folder/signing.pem` (0600) and `folder/signing.pub`, made at first use."""
    private_path = folder / "signing.pem"
    if not private_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _create(private_path)
    try:
        loaded = load_pem_private_key(private_path.read_bytes(), password=None)
    except ValueError as error:
        raise MachineryError(
            f"{private_path} cannot be read as a private key.",
            next_step="Restore keys/ from a backup: a new key would not verify what this one "
            "signed.",
        ) from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise MachineryError(f"{private_path} is not an Ed25519 key.")
    return SigningKey(loaded)


def load_public_key(path: Path) -> PublicKey:
    loaded = load_pem_public_key(path.read_bytes())
    if not isinstance(loaded, Ed25519PublicKey):
        raise MachineryError(f"{path} is not an Ed25519 public key.")
    return PublicKey(loaded)


def _create(private_path: Path) -> None:
    """The public half is written first, so a private key never stands without it."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private_path.with_suffix(".pub").write_bytes(public)
    partial = private_path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    partial.replace(private_path)
