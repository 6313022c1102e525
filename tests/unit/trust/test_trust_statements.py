from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.trust.keys import load_or_create_key, load_public_key
from seamline.trust.statements import (
    SNAPSHOT_TYPE,
    STATEMENT_TYPE,
    check_statement,
    make_statement,
    open_envelope,
    sign_envelope,
)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "keys")
    again = load_or_create_key(tmp_path / "keys")
    assert key.public.key_id == again.public.key_id
    assert load_public_key(tmp_path / "keys" / "signing.pub").key_id == key.public.key_id
    assert stat.S_IMODE((tmp_path / "keys" / "signing.pem").stat().st_mode) == 0o600


def test_only_the_signed_payload_of_the_asked_type_opens(tmp_path: Path) -> None:
    key, other = load_or_create_key(tmp_path / "a"), load_or_create_key(tmp_path / "b")
    envelope = sign_envelope(SNAPSHOT_TYPE, b'{"version":1}', key)
    assert open_envelope(envelope, SNAPSHOT_TYPE, [key.public]) == b'{"version":1}'
    with pytest.raises(Refused, match="No trusted key"):
        open_envelope(envelope, SNAPSHOT_TYPE, [other.public])
    with pytest.raises(Refused, match="holds"):
        open_envelope(envelope, STATEMENT_TYPE, [key.public])
    document = json.loads(envelope)
    document["payload"] = "eyJ2ZXJzaW9uIjoyfQ=="
    with pytest.raises(Refused):
        open_envelope(json.dumps(document).encode(), SNAPSHOT_TYPE, [key.public])
    for broken in (b"", b"[]", b'{"payload": "?"}', envelope[:-3]):
        with pytest.raises(InvalidInput):
            open_envelope(broken, SNAPSHOT_TYPE, [key.public])


def test_a_statement_is_about_its_subjects_only(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path)
    digest = digest_of(b"wheel")
    statement = make_statement({"air_time-1.0.0.whl": digest}, {"runDetails": {}})
    envelope = sign_envelope(STATEMENT_TYPE, statement, key)
    assert check_statement(envelope, digest, "wheel", [key.public])["predicate"] == {
        "runDetails": {}
    }
    with pytest.raises(DigestMismatch):
        check_statement(envelope, digest_of(b"other"), "wheel", [key.public])
