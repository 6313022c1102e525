"""Keys as approvers have them in files."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from seamline.domain.errors import Conflict, InvalidInput
from seamline.trust.key_files import create_key_files, read_private_key, read_public_key


def test_a_key_that_was_made_here(tmp_path: Path) -> None:
    key, public_path = create_key_files(tmp_path / "bea.key")
    assert (tmp_path / "bea.key").stat().st_mode & 0o777 == 0o600
    assert read_private_key(tmp_path / "bea.key").public.text == key.public.text
    assert read_public_key(public_path.read_text()).text == key.public.text
    before = (tmp_path / "bea.key").read_bytes()
    with pytest.raises(Conflict, match="exists already"):
        create_key_files(tmp_path / "bea.key")
    assert (tmp_path / "bea.key").read_bytes() == before
    with pytest.raises(InvalidInput, match="cannot be written"):
        create_key_files(tmp_path / "nowhere" / "bea.key")


@pytest.mark.parametrize(
    ("private", "encoding", "public"),
    [
        (PrivateFormat.OpenSSH, Encoding.OpenSSH, PublicFormat.OpenSSH),
        (PrivateFormat.PKCS8, Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
)
def test_keys_that_people_have(
    tmp_path: Path, private: PrivateFormat, encoding: Encoding, public: PublicFormat
) -> None:
    made, path = Ed25519PrivateKey.generate(), tmp_path / "id_ed25519"
    path.write_bytes(made.private_bytes(Encoding.PEM, private, NoEncryption()))
    text = made.public_key().public_bytes(encoding, public).decode()
    comment = " bea@laptop\n" if encoding is Encoding.OpenSSH else "\n"
    signing = read_private_key(path)
    assert read_public_key(text + comment).verifies(signing.sign(b"so be it"), b"so be it")


def test_what_is_no_such_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    ed25519, other = Ed25519PrivateKey.generate(), generate_private_key(SECP256R1())
    secret = BestAvailableEncryption(b"secret")
    for made, protection, says in (
        (ed25519, secret, "passphrase"),
        (other, NoEncryption(), "no Ed25519 key"),
    ):
        path.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
        with pytest.raises(InvalidInput, match=says):
            read_private_key(path)
    path.write_text("hello")
    for bad in (path, tmp_path / "none"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_private_key(bad)
    ec = other.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    for text, says in (
        (ec, "no Ed25519 key"),
        ("ssh-ed25519 AAAA", "cannot be read"),
        ("hello", "is not a public key"),
        ("-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----", "cannot be read"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx", "stay with its owner"),
    ):
        with pytest.raises(InvalidInput, match=says):
            read_public_key(text)
