"""Probes: requests of the control plane's own, which a standby answers before anybody relies on it.

Whoever may write snapshots may probe: the workspace's key signs which release of which environment
is meant, and until when. What a probe is answered is neither logged nor counted as a prediction;
what answers others is not told about it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec

from seamline.domain.clock import from_iso
from seamline.domain.errors import InvalidInput, Refused
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.statements import open_envelope, sign_envelope

#: The request's header that carries it.
HEADER = "Seamline-Probe"
PROBE_TYPE = "application/vnd.seamline.probe+json"


@dataclass(frozen=True)
class Probe:
    environment: str
    release: str
    expires_at: str


def write_probe(probe: Probe, key: SigningKey) -> str:
    """The header's value."""
    envelope = sign_envelope(PROBE_TYPE, canonical_json(asdict(probe)), key)
    return base64.b64encode(envelope).decode()


def read_probe(text: bytes, key: PublicKey, now: datetime) -> Probe:
    """Refused unless this key signed it, and its time is not over; InvalidInput for anything
    else."""
    try:
        envelope = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"{HEADER} is not base64: {error}.") from error
    payload = open_envelope(envelope, PROBE_TYPE, [key])
    try:
        probe = msgspec.json.decode(payload, type=Probe)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{HEADER} holds no probe: {error}.") from error
    if now >= from_iso(probe.expires_at):
        raise Refused(f"The probe of {probe.environment} has expired at {probe.expires_at}.")
    return probe
