"""Secrets and config maps: one store per environment, sealed on disk.

    secrets/<environment>/<id>     0600 in 0700; one file per secret and state of it, sealed

Which file is the present one stands in a row that is committed together with the fact, so a change
is whole or did not happen; a file that no row names is what a killed process left behind. Values
are kept out of the database, whose pages and backups would hold them longer than their deletion.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from seamline.domain.clock import iso, new_id
from seamline.domain.errors import InvalidInput, MachineryError, NotFound, nearest
from seamline.domain.trust_facts import SecretDeleted, SecretSet
from seamline.store.schema import CHAIN_HEAD, SETTINGS
from seamline.store.stores import Stores
from seamline.trust.sealing import SealingKey, load_sealing_key, write_private
from seamline.trust.secret_rules import (
    SecretKind,
    check_environment,
    check_key,
    check_name,
    check_size,
)

__all__ = [
    "KeyInfo",
    "SecretInfo",
    "SecretKind",
    "delete_keys",
    "find_secret",
    "list_secrets",
    "read_text",
    "read_value",
    "read_values",
    "set_values",
]

_PREFIX = "secrets/"


@dataclass(frozen=True)
class KeyInfo:
    key: str
    set_at: str
    set_by: str


@dataclass(frozen=True)
class SecretInfo:
    """All that is shown of a secret: no value, no length, no digest."""

    environment: str
    kind: SecretKind
    name: str
    keys: tuple[KeyInfo, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class _Entry:
    kind: SecretKind
    name: str
    #: Which file holds its values.
    file: str
    #: key → {set_at, set_by}
    keys: Mapping[str, Mapping[str, str]]

    def info(self, environment: str) -> SecretInfo:
        keys = tuple(KeyInfo(key, **self.keys[key]) for key in sorted(self.keys))
        return SecretInfo(environment, self.kind, self.name, keys)


_Index = dict[tuple[SecretKind, str], _Entry]


# -- writing ---------------------------------------------------------------------------------
def set_values(
    stores: Stores,
    environment: str,
    kind: SecretKind,
    name: str,
    values: Mapping[str, bytes],
    *,
    by: str,
) -> SecretInfo:
    """Adds keys or replaces them; other keys stay."""
    check_name(name, kind)
    for key in values:
        check_key(key)
    if not values:
        raise InvalidInput(f"{name} is given no key.", next_step="Give at least one key.")
    check_size(name, values)
    files = _Files(stores, environment)
    with stores.db.transaction() as tx:
        index = _lock_index(tx, environment)
        files.sweep(index)
        sealing = _sealing_key(tx, stores, may_create=True)
        old = index.get((kind, name))
        merged = {**(files.read(old, sealing) if old else {}), **values}
        check_size(name, merged)
        stamp = {"set_at": iso(stores.clock.now()), "set_by": by}
        keys = {**(old.keys if old else {}), **dict.fromkeys(values, stamp)}
        entry = _Entry(kind, name, new_id(stores.clock), keys)
        files.write(entry, merged, sealing)
        _store_index(tx, environment, {**index, (kind, name): entry})
        fact = SecretSet(environment, kind, name, tuple(sorted(values)))
        stores.facts.append(tx, fact, by=by)
    files.remove(old)
    return entry.info(environment)


def delete_keys(
    stores: Stores,
    environment: str,
    kind: SecretKind,
    name: str,
    keys: Collection[str] | None = None,
    *,
    by: str,
) -> SecretInfo | None:
    """What is left; None: the whole secret is gone, as it is when no keys are named."""
    files = _Files(stores, environment)
    with stores.db.transaction() as tx:
        index = _lock_index(tx, environment)
        files.sweep(index)
        old = _entry(index, environment, kind, name)
        gone = set(old.keys if keys is None else keys)
        for key in gone:
            _check_has(old, environment, key)
        del index[kind, name]
        left = {key: info for key, info in old.keys.items() if key not in gone}
        entry = _Entry(kind, name, new_id(stores.clock), left)
        if left:
            sealing = _sealing_key(tx, stores, may_create=False)
            values = files.read(old, sealing)
            files.write(entry, {key: values[key] for key in left}, sealing)
            index[kind, name] = entry
        _store_index(tx, environment, index)
        fact = SecretDeleted(environment, kind, name, tuple(sorted(gone)))
        stores.facts.append(tx, fact, by=by)
    files.remove(old)
    return entry.info(environment) if left else None


# -- reading ---------------------------------------------------------------------------------
def list_secrets(stores: Stores, environment: str) -> list[SecretInfo]:
    with stores.db.read() as connection:
        index = _load_index(connection, environment)
    return [index[place].info(environment) for place in sorted(index)]


def find_secret(stores: Stores, environment: str, kind: SecretKind, name: str) -> SecretInfo:
    with stores.db.read() as connection:
        return _entry(_load_index(connection, environment), environment, kind, name).info(
            environment
        )


def read_value(stores: Stores, environment: str, kind: SecretKind, name: str, key: str) -> bytes:
    """For whoever starts tasks of that environment, and nobody else."""
    entry, values = _read(stores, environment, kind, name)
    _check_has(entry, environment, key)
    return values[key]


def read_text(stores: Stores, environment: str, kind: SecretKind, name: str, key: str) -> str:
    """The value as an environment variable can hold it; InvalidInput where it cannot."""
    value = read_value(stores, environment, kind, name, key)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InvalidInput(
            f"The value of {key!r} in the {kind.spoken} {name!r} ({environment}) is no text: an "
            "environment variable cannot hold it.",
            next_step="Mount it as a file, or set it again as text.",
        )
    return text


def read_values(stores: Stores, environment: str, kind: SecretKind, name: str) -> dict[str, bytes]:
    """key → value, as `read_value`."""
    return _read(stores, environment, kind, name)[1]


def _read(
    stores: Stores, environment: str, kind: SecretKind, name: str
) -> tuple[_Entry, dict[str, bytes]]:
    looked_for = ""
    while True:
        with stores.db.read() as connection:
            entry = _entry(_load_index(connection, environment), environment, kind, name)
            sealing = _sealing_key(connection, stores, may_create=False)
        try:
            return entry, _Files(stores, environment).read(entry, sealing)
        except FileNotFoundError:
            # Set anew between the row and the file: the row names another file now.
            if entry.file == looked_for:
                raise MachineryError(
                    f"The file of the {kind.spoken} {name!r} ({environment}) is missing.",
                    next_step="Restore secrets/ from a backup, or delete it and set it again.",
                ) from None
            looked_for = entry.file


# -- rows ------------------------------------------------------------------------------------
def _lock_index(tx: Connection, environment: str) -> _Index:
    """Every change appends a governance fact, so on PostgreSQL writers queue here for its place."""
    tx.execute(select(CHAIN_HEAD.c.id).with_for_update())
    return _load_index(tx, environment)


def _load_index(connection: Connection, environment: str) -> _Index:
    query = select(SETTINGS.c.value).where(SETTINGS.c.name == _PREFIX + environment)
    stored = connection.execute(query).scalar_one_or_none()
    entries = [
        _Entry(SecretKind(one["kind"]), one["name"], one["file"], one["keys"])
        for one in json.loads(stored or "[]")
    ]
    return {(one.kind, one.name): one for one in entries}


def _store_index(tx: Connection, environment: str, index: _Index) -> None:
    name = _PREFIX + environment
    tx.execute(delete(SETTINGS).where(SETTINGS.c.name == name))
    if index:
        value = json.dumps([asdict(entry) for entry in index.values()])
        tx.execute(insert(SETTINGS).values(name=name, value=value))


def _entry(index: _Index, environment: str, kind: SecretKind, name: str) -> _Entry:
    found = index.get((kind, name))
    if found is None:
        known = [known for of_kind, known in index if of_kind is kind]
        other = next((one.spoken for one in SecretKind if (one, name) in index), "")
        raise NotFound(
            f"There is no {kind.spoken} {name!r} in {environment}.",
            next_step=f"There is a {other} of that name." if other else nearest(name, known),
            kind=kind,
            name=name,
        )
    return found


def _check_has(entry: _Entry, environment: str, key: str) -> None:
    if key not in entry.keys:
        raise NotFound(
            f"The {entry.kind.spoken} {entry.name!r} in {environment} has no key {key!r}.",
            next_step=nearest(key, entry.keys),
            kind="key",
            name=key,
        )


def _sealing_key(connection: Connection, stores: Stores, *, may_create: bool) -> SealingKey:
    folder = stores.root / "keys"
    if may_create:
        query = select(SETTINGS.c.name).where(SETTINGS.c.name.like(f"{_PREFIX}%")).limit(1)
        may_create = connection.execute(query).first() is None
    return load_sealing_key(folder, may_create=may_create)


# -- files -----------------------------------------------------------------------------------
class _Files:
    """Of one environment."""

    def __init__(self, stores: Stores, environment: str) -> None:
        check_environment(environment)
        self._root = stores.root / "secrets"
        self._folder = self._root / environment
        self._environment = environment

    def write(self, entry: _Entry, values: Mapping[str, bytes], sealing: SealingKey) -> None:
        for folder in (self._root, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)  # As a restored backup may not have it.
        text = {key: base64.b64encode(value).decode() for key, value in values.items()}
        sealed = sealing.seal(json.dumps(text).encode(), self._place(entry))
        write_private(self._folder / entry.file, sealed)

    def read(self, entry: _Entry, sealing: SealingKey) -> dict[str, bytes]:
        sealed = (self._folder / entry.file).read_bytes()
        what = f"The {entry.kind.spoken} {entry.name!r} of {self._environment}"
        text = json.loads(sealing.open(sealed, self._place(entry), what))
        return {key: base64.b64decode(value) for key, value in text.items()}

    def remove(self, entry: _Entry | None) -> None:
        if entry is not None:
            (self._folder / entry.file).unlink(missing_ok=True)

    def sweep(self, index: _Index) -> None:
        """Removes what no row names. Only under the lock: a writer's new file has no row yet."""
        if not self._folder.is_dir():
            return
        named = {entry.file for entry in index.values()}
        for path in list(self._folder.iterdir()):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def _place(self, entry: _Entry) -> str:
        """What a file is sealed for: put in another's place, or an older one back, it stays shut.

        Part of the format: what was sealed for another wording cannot be opened.
        """
        return f"seamline/1 {self._environment} {entry.kind} {entry.name} {entry.file}"
