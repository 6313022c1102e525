"""The workspace's Ed25519 key: made once, kept readable by its owner only."""

from __future__ import annotations

import base64
import binascii
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

from seamline.domain.errors import InvalidInput, MachineryError

#: Of a workspace: where its keys lie, apart from store and database.
KEYS = "keys"
SIGNING, NEXT = "signing.pem", "next.pem"
_RAW_BYTES = 32


@dataclass(frozen=True)
class PublicKey:
    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """First 16 hex digits of the sha256 of the raw public key."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    @property
    def raw(self) -> bytes:
        return self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def text(self) -> str:
        """What people pin: the raw public key in base64, 44 letters."""
        return base64.b64encode(self.raw).decode()

    def is_called(self, name: str) -> bool:
        """Whether `name` is this key's id, or its text."""
        return name in (self.key_id, self.text)

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
    private_path = folder / SIGNING
    if not private_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        create_key(private_path)
    key = load_key(private_path)
    if not (folder / "signing.pub").exists():  # also after a kill between the two
        write_public_key(folder, key.public)
    return key


def load_key(private_path: Path) -> SigningKey:
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


def parse_public_key(text: str) -> PublicKey:
    """From its text (`PublicKey.text`); InvalidInput for anything else.

    >>> parse_public_key("A" * 43 + "=").key_id
    '66687aadf862bd77'
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _RAW_BYTES:
        raise InvalidInput(
            f"{text[:60]!r} is not a public key.",
            next_step="Copy it from seamline key list: 44 letters, digits, + / and =.",
        )
    return PublicKey(Ed25519PublicKey.from_public_bytes(raw))


def write_public_key(folder: Path, public: PublicKey) -> None:
    """`folder/signing.pub`: what the data plane trusts."""
    path = folder / "signing.pub"
    partial = path.with_suffix(".pub.partial")
    partial.write_bytes(public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    partial.replace(path)


def create_key(private_path: Path) -> SigningKey:
    """A new private key (0600), there whole or not at all."""
    key = Ed25519PrivateKey.generate()
    partial = private_path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(private_path)
    return SigningKey(key)
