"""The access list: one signed file that says which tokens the data plane lets in, and to what.

The data plane reads it instead of asking the control plane, so who may ask outlives that, too. It
holds digests of tokens, never a token; it is replaced in one step, and verified when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec

from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.store.blobs import write_atomically
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.roles import Verb
from seamline.trust.statements import ACCESS_TYPE, open_envelope, sign_envelope

SCHEMA = 1
#: What the data plane asks about: answers, what is served, and what is in memory.
SERVED_VERBS = (Verb.PREDICT, Verb.READ, Verb.REQUEST_PROMOTION)


@dataclass(frozen=True)
class AccessEntry:
    """One token: its limits, and what its principal's roles let them do, wherever.

    `environments`, `endpoints`: None where the token is limited to none. `granted`: verb →
    environments, None: each; a verb that no role of theirs has is not named.
    """

    token_id: str
    token_digest: str
    principal: str
    expires_at: str
    environments: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None
    verbs: tuple[str, ...]
    granted: Mapping[str, tuple[str, ...] | None]


@dataclass(frozen=True)
class AccessList:
    """`version` never goes back. `is_required`: whoever sends no token gets no answer."""

    version: int
    is_required: bool
    written_at: str
    entries: tuple[AccessEntry, ...]
    schema: int = SCHEMA


def access_list_path(root: Path) -> Path:
    """Beside the snapshots; by another ending than theirs."""
    return root / "serving" / "access.list"


def write_access_list(path: Path, found: AccessList, key: SigningKey) -> None:
    """Sign and replace: the data plane picks it up by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sign_access_list(found, key))


def sign_access_list(found: AccessList, key: SigningKey) -> bytes:
    return sign_envelope(ACCESS_TYPE, canonical_json(asdict(found)), key)


def narrow_to(found: AccessList, environment: str) -> AccessList:
    """What concerns one environment: whoever may nothing there is not in it, nor what others may
    elsewhere."""
    entries = []
    for one in found.entries:
        here = (environment,)
        granted: dict[str, tuple[str, ...] | None] = {
            verb: here
            for verb, where in one.granted.items()
            if verb in one.verbs and (where is None or environment in where)
        }
        if granted and (one.environments is None or environment in one.environments):
            limits = None if one.environments is None else here
            entries.append(replace(one, environments=limits, granted=granted))
    return replace(found, entries=tuple(entries))


def read_access_list(path: Path, public_key: PublicKey) -> AccessList:
    """The list, once signature and shape hold; NotFound, InvalidInput or Refused if not."""
    try:
        envelope = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no access list at {path}.") from None
    return open_access_list(envelope, str(path), public_key)


def open_access_list(envelope: bytes, what: str, public_key: PublicKey) -> AccessList:
    """What an envelope holds; InvalidInput or Refused as `read_access_list`."""
    payload = open_envelope(envelope, ACCESS_TYPE, [public_key])
    try:
        found = msgspec.json.decode(payload, type=AccessList)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{what} is no access list: {error}.") from error
    if found.schema != SCHEMA:
        raise Refused(
            f"The access list has schema {found.schema}; this data plane reads {SCHEMA}.",
            next_step="Upgrade the data plane.",
        )
    return found
