"""Many models behind one endpoint: which of them answers which row.

A row names its model by the values of the key columns: what tells the scenarios of a family apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, nearest
from seamline.serve.datatypes import Columns, to_list

KeyValue = bool | int | float | str
Key = tuple[KeyValue, ...]


@dataclass(frozen=True)
class Column:
    name: str
    datatype: str
    nullable: bool = False


@dataclass(frozen=True)
class Member:
    """One model: `key` holds its values of the family's key columns, in their order."""

    key: Key
    model: str
    model_version: str
    package_digest: str
    payload_digest: str
    wheel_path: str
    wheel_name: str
    module: str
    python: str


@dataclass(frozen=True)
class Family:
    """`inputs` are what its models take: the request's inputs, without the keys that only choose.

    `memory_bytes` bounds what the processes that hold the models may occupy together. `default` is
    the model that answers rows of a key without one; without it those are refused.
    """

    keys: tuple[str, ...]
    inputs: tuple[Column, ...]
    members: tuple[Member, ...]
    memory_bytes: int
    default: str | None = None

    @cached_property
    def places(self) -> dict[Key, int]:
        """Key → place in `members`."""
        return {member.key: place for place, member in enumerate(self.members)}

    def first_of(self, python: str) -> int:
        """Of the models of one interpreter, the one that proves a start. The default where it is
        one of them: it is the likeliest to be asked."""
        mine = [at for at, one in enumerate(self.members) if one.python == python]
        default = self.default_place
        return default if default is not None and default in mine else mine[0]

    @cached_property
    def default_place(self) -> int | None:
        named = [place for place, one in enumerate(self.members) if one.model == self.default]
        return named[0] if named else None

    def places_of(self, columns: Columns) -> list[int]:
        """For each row the place of the model that answers it; InvalidInput names the first key
        that has none, and the nearest that has."""
        keys = zip(*(to_list(columns[name]) for name in self.keys), strict=True)
        if self.default_place is not None:
            return [self.places.get(key, self.default_place) for key in keys]
        listed = list(keys)
        try:
            return [self.places[key] for key in listed]
        except KeyError:
            row = next(at for at, key in enumerate(listed) if key not in self.places)
            raise InvalidInput(
                f"There is no model for {self.say(listed[row])} (row {row}).",
                next_step=nearest(self.say(listed[row]), map(self.say, self.places)),
            ) from None

    def members_of(self, columns: Columns) -> list[Member]:
        """What answers each row. Raises as `places_of`."""
        return [self.members[place] for place in self.places_of(columns)]

    def say(self, key: Key) -> str:
        """
        >>> Family(("origin", "days"), (), (), 0).say(("JFK", 30))
        'origin=JFK,days=30'
        """
        return ",".join(f"{name}={value}" for name, value in zip(self.keys, key, strict=True))


def check_family(endpoint: str, family: Family, inputs: Iterable[Column]) -> None:
    """Raises InvalidInput for one that cannot be served."""
    names = [column.name for column in inputs]
    unknown = [name for name in family.keys if name not in names]
    if not family.keys or unknown or not family.members:
        raise InvalidInput(
            f"Endpoint {endpoint!r} needs key columns among its inputs, and models; its keys are "
            f"{', '.join(family.keys) or 'none'}, its inputs {', '.join(names)}."
        )
    missing = [column.name for column in family.inputs if column.name not in names]
    if missing or not family.inputs:
        raise InvalidInput(f"Endpoint {endpoint!r}: no input {', '.join(missing)} of its models.")
    if len(family.places) < len(family.members):
        raise InvalidInput(f"Endpoint {endpoint!r} names two models for one key.")
    if family.default is not None and family.default_place is None:
        raise InvalidInput(f"Endpoint {endpoint!r}: its default {family.default!r} is no member.")
    if family.memory_bytes <= 0:
        raise InvalidInput(f"Endpoint {endpoint!r} has no memory for its models.")
    for member in family.members:
        parse_digest(member.package_digest)
        if len(member.key) != len(family.keys):
            raise InvalidInput(
                f"Endpoint {endpoint!r}: {member.model} has the key {member.key}, for "
                f"{', '.join(family.keys)}."
            )
