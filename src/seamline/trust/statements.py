"""Signed statements: DSSE envelopes (protocol v1.0.2) around JSON payloads.

The signature covers the pre-authentication encoding
`"DSSEv1" SP len(type) SP type SP len(payload) SP payload`, so a payload cannot be passed off
as one of another type.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from seamline.domain.errors import DigestMismatch, InvalidInput, Refused
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey

STATEMENT_TYPE = "application/vnd.in-toto+json"
SNAPSHOT_TYPE = "application/vnd.seamline.snapshot+json"
ACCESS_TYPE = "application/vnd.seamline.access+json"
PROVENANCE = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True)
class Opened:
    """A payload, and the key whose signature over it held."""

    payload: bytes
    key: PublicKey


def sign_envelope(payload_type: str, payload: bytes, *keys: SigningKey) -> bytes:
    message = _encode(payload_type, payload)
    envelope = {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": key.public.key_id, "sig": base64.b64encode(key.sign(message)).decode()}
            for key in keys
        ],
    }
    return canonical_json(envelope)


def open_envelope(envelope: bytes, payload_type: str, trusted: Iterable[PublicKey]) -> bytes:
    """The payload, once one trusted key's signature over it holds.

    Raises InvalidInput when it is no envelope, Refused when nobody trusted signed it.
    """
    return open_signed(envelope, payload_type, trusted).payload


def open_signed(envelope: bytes, payload_type: str, trusted: Iterable[PublicKey]) -> Opened:
    """As `open_envelope`, with the key: the first of the envelope's that is trusted and holds."""
    try:
        document = json.loads(envelope)
        payload = base64.b64decode(document["payload"], validate=True)
        signatures = [
            (str(entry["keyid"]), base64.b64decode(entry["sig"], validate=True))
            for entry in document["signatures"]
        ]
        found_type = str(document["payloadType"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise InvalidInput(f"This is not a DSSE envelope: {error!r}.") from error
    if found_type != payload_type:
        raise Refused(f"The envelope holds {found_type}, wanted {payload_type}.")
    keys = {key.key_id: key for key in trusted}
    message = _encode(payload_type, payload)
    for key_id, signature in signatures:
        if key_id in keys and keys[key_id].verifies(signature, message):
            return Opened(payload, keys[key_id])
    raise Refused(
        f"No trusted key signed this {payload_type}: signed by "
        f"{', '.join(key_id for key_id, _ in signatures) or 'nobody'}, "
        f"trusted {', '.join(sorted(keys)) or 'nobody'}.",
        next_step="The file was altered, or comes from another workspace.",
    )


def make_statement(
    subjects: dict[str, str], predicate: dict[str, Any], predicate_type: str = PROVENANCE
) -> bytes:
    """An in-toto Statement v1 over {name: digest}."""
    return canonical_json(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [
                {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
                for name, digest in sorted(subjects.items())
            ],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def check_statement(
    envelope: bytes, digest: str, what: str, trusted: Iterable[PublicKey]
) -> dict[str, Any]:
    """The statement, when it is signed and names `digest` among its subjects."""
    statement: dict[str, Any] = json.loads(open_envelope(envelope, STATEMENT_TYPE, trusted))
    named = subjects_of(statement)
    if digest not in named.values():
        expected = ", ".join(named.values())
        raise DigestMismatch(f"{what}'s statement", expected=expected, actual=digest)
    return statement


def subjects_of(statement: Mapping[str, Any]) -> dict[str, str]:
    """{name: digest}, as `make_statement` was given them.

    >>> subjects_of({"subject": [{"name": "a.whl", "digest": {"sha256": "00ff"}}]})
    {'a.whl': 'sha256:00ff'}
    """
    return {one["name"]: f"sha256:{one['digest']['sha256']}" for one in statement["subject"]}


def _encode(payload_type: str, payload: bytes) -> bytes:
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
