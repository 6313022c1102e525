"""What this workspace signs: statements about what is published, and its next key.

The private key is read from the workspace's `keys/` when something is signed, so it is in no
database and no blob. Which key is the current one, the database says; signing something, ending a
key and putting the next one in its place queue up at the head of the fact chain: no statement falls
between two keys, and nobody finds the files half way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from seamline.domain.clock import iso
from seamline.domain.errors import MachineryError
from seamline.domain.trust_facts import KeyRotated
from seamline.store.blobs import write_atomically
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.trust.key_history import (
    KeyEntry,
    KeyHistory,
    check_in_time,
    make_entry,
    read_history,
    seal,
)
from seamline.trust.keys import (
    KEYS,
    NEXT,
    SIGNING,
    PublicKey,
    SigningKey,
    create_key,
    load_key,
    load_or_create_key,
    write_public_key,
)
from seamline.trust.statement_rows import SIGNING_KEYS, STATEMENTS
from seamline.trust.statements import (
    SNAPSHOT_TYPE,
    STATEMENT_TYPE,
    check_statement,
    make_statement,
    open_envelope,
    open_signed,
    sign_envelope,
)


@dataclass(frozen=True)
class Statement:
    """`digest` is that of the bytes it is about, `statement` that of its own envelope."""

    subject: str
    digest: str
    kind: str
    statement: str
    key_id: str
    signed_at: str


def sign_statement(
    stores: Stores,
    tx: Connection,
    kind: str,
    subjects: Mapping[str, str],
    predicate: dict[str, Any],
) -> None:
    """In the transaction that publishes. What is stated already is not stated again."""
    known = {(one.subject, one.digest) for one in _stated(tx, sorted(set(subjects.values())))}
    if known >= set(subjects.items()):
        return
    key = key_to_sign_with(stores, tx)
    envelope = sign_envelope(STATEMENT_TYPE, make_statement(dict(subjects), predicate), key)
    _record(stores, tx, kind, subjects, envelope, key.public)


def record_statement(
    stores: Stores,
    tx: Connection,
    kind: str,
    subjects: Mapping[str, str],
    envelope: bytes,
    key: SigningKey,
) -> None:
    """As `sign_statement`, for what `key` has signed; MachineryError when another is current."""
    current = key_to_sign_with(stores, tx)
    if current.public.key_id != key.public.key_id:
        raise MachineryError(
            f"Key {key.public.key_id} signed this, and {current.public.key_id} is the current key.",
            next_step="A rotation came in between: try again.",
        )
    _record(stores, tx, kind, subjects, envelope, key.public)


def sign_payload(stores: Stores, tx: Connection, payload_type: str, payload: bytes) -> bytes:
    """An envelope by the current key, which no list of statements holds: heads of the ledger."""
    return sign_envelope(payload_type, payload, key_to_sign_with(stores, tx))


def find_statements(connection: Connection, digest: str) -> list[Statement]:
    """All that is stated of these bytes, oldest first."""
    return _stated(connection, [digest])


def key_history(connection: Connection) -> list[bytes]:
    """Its envelopes, unverified: for `read_history`. Empty before anything was signed."""
    rows = connection.execute(select(SIGNING_KEYS.c.envelope).order_by(SIGNING_KEYS.c.number))
    return [text.encode() for text in rows.scalars()]


def sealed_lists(stores: Stores, connection: Connection) -> dict[str, bytes]:
    """Digest → list of what an ended key had signed. What is not there any more is left out."""
    sealed = select(SIGNING_KEYS.c.sealed).where(SIGNING_KEYS.c.sealed.is_not(None))
    digests = connection.execute(sealed).scalars().all()
    return {
        digest: stores.blobs.get(digest, "list of an ended key's statements")
        for digest in digests
        if stores.blobs.holds(digest)
    }


def count_statements(connection: Connection) -> dict[str, int]:
    """Key id → how many statements it has signed."""
    column = STATEMENTS.c.key_id
    counted = func.count(STATEMENTS.c.statement.distinct())
    return {row[0]: row[1] for row in connection.execute(select(column, counted).group_by(column))}


def check_signed(
    stores: Stores, statement: str, digest: str, what: str, anchor: PublicKey
) -> dict[str, Any]:
    """The statement with this digest, when it is about `digest`, and `anchor` signed it or a key
    of `anchor`'s history did, before its end."""
    envelope = stores.blobs.get(statement, f"statement of {what}")
    with stores.db.read() as connection:
        told = key_history(connection)
        sealed = sealed_lists(stores, connection)
    history = read_history(told) if told else None
    if history is None or history.find(anchor.text) is None:
        return check_statement(envelope, digest, what, [anchor])
    signer = open_signed(envelope, STATEMENT_TYPE, history.keys).key
    check_in_time(history, signer, statement, sealed)
    return check_statement(envelope, digest, what, [signer])


def rotate_key(stores: Stores, snapshots: Sequence[Path], *, by: str) -> KeyEntry:
    """End the current key, begin another; the serving snapshots are signed with the new one.

    Safe to be killed anywhere: `finish_rotation` goes on where it stopped. The old private key is
    gone afterwards.
    """
    folder = stores.root / KEYS
    with stores.db.transaction() as tx:
        old = key_to_sign_with(stores, tx)
        # Another rotation may have begun it just now: its key is not to be written over.
        _finish(stores, tx, snapshots)
        new = create_key(folder / NEXT)
        history = read_history(key_history(tx))
        listed = select(STATEMENTS.c.statement).where(
            STATEMENTS.c.key_id.in_(_spellings(history, old.public))
        )
        sealed = stores.blobs.put(seal(list(tx.execute(listed).scalars())))
        begins_at = iso(stores.clock.now())
        envelope = make_entry(new, begins_at, (history.current, old), sealed)
        entry = read_history([*key_history(tx), envelope]).current
        _insert_entry(tx, entry, envelope)
        fact = KeyRotated(new.public.key_id, old.public.key_id, entry.envelope, sealed)
        stores.facts.append(tx, fact, by=by)
    finish_rotation(stores, snapshots)
    return entry


def finish_rotation(stores: Stores, snapshots: Sequence[Path]) -> None:
    """Put the next key in its place, when the database says that it has begun."""
    if (stores.root / KEYS / NEXT).exists():
        with stores.db.transaction() as tx:
            _wait_for_others(tx)
            _finish(stores, tx, snapshots)


def _finish(stores: Stores, tx: Connection, snapshots: Sequence[Path]) -> None:
    folder = stores.root / KEYS
    if not (folder / NEXT).exists():
        return
    new, old = load_key(folder / NEXT), load_or_create_key(folder)
    if _newest(tx) != new.public.key_id:
        return  # made, and never begun: the next rotation makes another
    # In this order: a data plane that runs looks at a snapshot when it was replaced, and by then
    # trusts the key that signed it. The private key is last: until then all this is done again.
    write_public_key(folder, new.public)
    for path in snapshots:
        _sign_snapshot_again(path, old, new)
    (folder / NEXT).replace(folder / SIGNING)


def _sign_snapshot_again(path: Path, old: SigningKey, new: SigningKey) -> None:
    payload = open_envelope(path.read_bytes(), SNAPSHOT_TYPE, [old.public, new.public])
    write_atomically(path, sign_envelope(SNAPSHOT_TYPE, payload, new))


def key_to_sign_with(stores: Stores, tx: Connection) -> SigningKey:
    """The private key of the newest entry, for as long as the transaction lasts; the first entry
    is made here."""
    _wait_for_others(tx)
    folder = stores.root / KEYS
    key, newest = load_or_create_key(folder), _newest(tx)
    if newest is None:
        envelope = make_entry(key, iso(stores.clock.now()))
        _insert_entry(tx, read_history([envelope]).current, envelope)
        return key
    if newest == key.public.key_id:
        return key
    upcoming = load_key(folder / NEXT) if (folder / NEXT).exists() else None
    if upcoming is not None and newest == upcoming.public.key_id:
        return upcoming
    raise MachineryError(
        f"The database says that key {newest} signs; {folder} holds {key.public.key_id}.",
        next_step="Restore keys/ and the database from the same backup.",
    )


def _wait_for_others(tx: Connection) -> None:
    tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()


def _newest(connection: Connection) -> str | None:
    query = select(SIGNING_KEYS.c.key_id).order_by(SIGNING_KEYS.c.number.desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def _insert_entry(tx: Connection, entry: KeyEntry, envelope: bytes) -> None:
    tx.execute(
        insert(SIGNING_KEYS).values(
            number=entry.number,
            key_id=entry.public.key_id,
            envelope=envelope.decode(),
            begins_at=entry.begins_at,
            sealed=entry.sealed,
        )
    )


def _spellings(history: KeyHistory, public: PublicKey) -> list[str]:
    """What the column key_id says where this key signed."""
    is_first = history.entries[0].public.key_id == public.key_id
    return [public.key_id, ""] if is_first else [public.key_id]


def _record(
    stores: Stores,
    tx: Connection,
    kind: str,
    subjects: Mapping[str, str],
    envelope: bytes,
    public: PublicKey,
) -> None:
    statement, signed_at = stores.blobs.put(envelope), iso(stores.clock.now())
    known = {(one.subject, one.digest) for one in _stated(tx, sorted(set(subjects.values())))}
    for subject, digest in sorted(set(subjects.items()) - known):
        row = Statement(subject, digest, kind, statement, public.key_id, signed_at)
        tx.execute(insert(STATEMENTS).values(**row.__dict__))


def _stated(connection: Connection, digests: Sequence[str]) -> list[Statement]:
    query = select(STATEMENTS).where(STATEMENTS.c.digest.in_(digests))
    ordered = query.order_by(STATEMENTS.c.signed_at, STATEMENTS.c.subject)
    return [Statement(**row._mapping) for row in connection.execute(ordered)]
