"""Ed25519 keys as people have them in files: PEM, OpenSSH, or the raw public key in base64."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from seamline.domain.errors import Conflict, InvalidInput
from seamline.trust.keys import PublicKey, SigningKey, create_key, parse_public_key

_OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"


def read_public_key(text: str) -> PublicKey:
    """InvalidInput for anything but one Ed25519 public key.

    >>> read_public_key("A" * 43 + "=").key_id
    '66687aadf862bd77'
    """
    plain = text.strip().encode()
    if b"PRIVATE KEY" in plain:
        raise InvalidInput(
            "This is a private key: it is to stay with its owner.",
            next_step="Send the public one: the file that ends in .pub.",
        )
    try:
        if plain.startswith(b"-----BEGIN"):
            loaded = load_pem_public_key(plain)
        elif b" " in plain:
            loaded = load_ssh_public_key(plain)
        else:
            return parse_public_key(plain.decode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"This cannot be read as a public key: {error}.") from error
    if not isinstance(loaded, Ed25519PublicKey):
        raise InvalidInput(
            f"This is no Ed25519 key ({type(loaded).__name__}).",
            next_step="Make one: seamline approver-key create FILE, or ssh-keygen -t ed25519.",
        )
    return PublicKey(loaded)


def read_private_key(path: Path) -> SigningKey:
    """InvalidInput where it is none, or is protected by a passphrase."""
    try:
        data = path.read_bytes()
        load = load_ssh_private_key if _OPENSSH in data else load_pem_private_key
        loaded = load(data, password=None)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from error
    except TypeError as error:  # the library's word for a password that was not given
        raise InvalidInput(
            f"{path} is protected by a passphrase, which is not asked for.",
            next_step="Sign with a key of its own: seamline approver-key create FILE.",
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInput(f"{path} cannot be read as a private key: {error}.") from error
    if not isinstance(loaded, Ed25519PrivateKey):
        raise InvalidInput(f"{path} is no Ed25519 key ({type(loaded).__name__}).")
    return SigningKey(loaded)


def create_key_files(path: Path) -> tuple[SigningKey, Path]:
    """The private key in `path`, readable by its owner only, the public one beside it (.pub)."""
    public_path = path.with_name(f"{path.name}.pub")
    for one in (path, public_path):
        if one.exists():
            raise Conflict(f"{one} exists already.", next_step="Choose another name.")
    try:
        key = create_key(path)
        public_path.write_text(f"{key.public.text}\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from error
    return key, public_path
