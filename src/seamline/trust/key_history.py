"""The workspace's keys, in order: each was introduced by the one before it.

Entry n is a DSSE envelope, signed by key n and, after the first, by key n-1. It names the
envelope before it by digest, and *seals* what key n-1 signed: the digest of the list of all of
its statements. So whoever trusts one key of a history can tell all others from strangers, and a
key that has ended, in whosever hands, cannot sign anything new.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.domain.digests import digest_of, short
from seamline.domain.errors import InvalidInput, Refused, SeamlineError
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey, parse_public_key
from seamline.trust.statements import open_envelope, sign_envelope

KEY_TYPE = "application/vnd.seamline.key+json"


@dataclass(frozen=True)
class KeyEntry:
    """`envelope`: the digest of the entry itself; `sealed`: of the list of what the key before
    this one had signed."""

    number: int
    public: PublicKey
    begins_at: str
    envelope: str
    previous: str | None
    sealed: str | None


@dataclass(frozen=True)
class KeyHistory:
    """Checked entries, the current key last."""

    entries: tuple[KeyEntry, ...]

    @property
    def current(self) -> KeyEntry:
        return self.entries[-1]

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        return tuple(entry.public for entry in self.entries)

    def find(self, name: str) -> KeyEntry | None:
        """By id or by public key."""
        return next((entry for entry in self.entries if entry.public.is_called(name)), None)

    def end_of(self, public: PublicKey) -> KeyEntry | None:
        """The entry that ended this key; None for the current one."""
        later = [entry for entry in self.entries if entry.number > 0]
        ends = {self.entries[entry.number - 1].public.key_id: entry for entry in later}
        return ends.get(public.key_id)


def make_entry(
    key: SigningKey,
    begins_at: str,
    before: tuple[KeyEntry, SigningKey] | None = None,
    sealed: str | None = None,
) -> bytes:
    """The envelope that introduces `key`; `before`: the entry and the key that it ends."""
    document = {
        "schema": 1,
        "number": before[0].number + 1 if before else 0,
        "public_key": key.public.text,
        "begins_at": begins_at,
        "previous": before[0].envelope if before else None,
        "sealed": sealed,
    }
    signers = [key, before[1]] if before else [key]
    return sign_envelope(KEY_TYPE, canonical_json(document), *signers)


def read_history(envelopes: Sequence[bytes]) -> KeyHistory:
    """Every link, checked. Refused, naming the first entry that does not hold."""
    entries: list[KeyEntry] = []
    for number, envelope in enumerate(envelopes):
        try:
            entries.append(_read_entry(envelope, entries[-1] if entries else None))
        except (SeamlineError, KeyError, ValueError, TypeError) as error:
            why = error.message if isinstance(error, SeamlineError) else repr(error)
            raise Refused(
                f"Entry {number} of the key history does not hold: {why}",
                next_step="It was altered; restore the workspace's database from a backup.",
            ) from error
    if not entries:
        raise Refused(
            "The key history is empty.",
            next_step="A workspace writes it with the first statement that it signs.",
        )
    return KeyHistory(tuple(entries))


def check_pin(history: KeyHistory, pin: str) -> KeyEntry:
    """The pinned key's entry; Refused when this history is another workspace's."""
    found = history.find(pin)
    if found is None:
        known = ", ".join(key.key_id for key in history.keys)
        raise Refused(
            f"The pinned key {pin} is none of this workspace's keys ({known}).",
            next_step="Somebody else answers, or rewrote the workspace. Trust nothing of it "
            "before you know which.",
        )
    return found


def seal(statements: Sequence[str]) -> bytes:
    """The list of what a key signed, one digest a line, sorted.

    >>> seal(["sha256:bb", "sha256:aa", "sha256:bb"])
    b'sha256:aa\\nsha256:bb\\n'
    """
    return "".join(f"{digest}\n" for digest in sorted(set(statements))).encode()


def check_in_time(
    history: KeyHistory, public: PublicKey, statement: str, sealed: Mapping[str, bytes]
) -> None:
    """Refused when an ended key signed a statement that its end does not list.

    `statement`: digest of the envelope; `sealed`: digest → list (see `seal`), unverified.
    """
    end = history.end_of(public)
    if end is None:
        return
    listed = sealed.get(end.sealed or "", b"")
    if digest_of(listed) != end.sealed:
        raise Refused(
            f"What key {public.key_id} signed before its end at {end.begins_at} cannot be told: "
            f"the list {short(end.sealed or '')} is missing or altered.",
            next_step="Restore the workspace's blobs from a backup.",
        )
    if statement not in listed.decode().split("\n"):
        raise Refused(
            f"Key {public.key_id} ended at {end.begins_at}, and the statement "
            f"{short(statement)} is none of those that it had signed until then.",
            next_step="Somebody may have a copy of that key: publish the artifact again.",
        )


def _read_entry(envelope: bytes, before: KeyEntry | None) -> KeyEntry:
    document = _claimed(envelope)
    public = parse_public_key(str(document["public_key"]))
    # Both have to have signed: the new key itself, and the one that hands over to it.
    open_envelope(envelope, KEY_TYPE, [public])
    if before is not None:
        open_envelope(envelope, KEY_TYPE, [before.public])
    wanted = (before.number + 1, before.envelope) if before else (0, None)
    if (document["number"], document["previous"]) != wanted:
        raise InvalidInput(f"it follows {document['previous']}, wanted {wanted[1]}.")
    return KeyEntry(
        number=int(document["number"]),
        public=public,
        begins_at=str(document["begins_at"]),
        envelope=digest_of(envelope),
        previous=document["previous"],
        sealed=document["sealed"],
    )


def _claimed(envelope: bytes) -> dict[str, Any]:
    """What an entry says of itself, before anything is verified."""
    document: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return document
