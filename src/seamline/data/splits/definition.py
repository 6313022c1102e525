"""What `[datasets.NAME.splits]` says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import Any

from seamline.domain.errors import InvalidInput, not_found
from seamline.domain.tags import check_tag
from seamline.store.canonical import digest_of_json


class SplitBy(StrEnum):
    #: Rows before a day, and rows from it on.
    TIME = "time"
    #: Shares of the keys, chosen by a hash of the key and the seed.
    KEY = "key"


@dataclass(frozen=True)
class SplitsDeclaration:
    """The splits of a dataset's versions; every row is in exactly one.

    By time: `until` names, in order, the day before which each split ends, and `rest` the split
    of all rows after; or `shares` of the days. By key: `shares` of the keys. All rows of a key are
    in one split: by time, in that of its last row.
    """

    #: What the rows are divided by.
    by: SplitBy
    #: Split → its share; the shares add up to 1.
    shares: Mapping[str, float] = field(default_factory=dict)
    #: Split → the day before which it ends, as "2013-10-01".
    until: Mapping[str, str] = field(default_factory=dict)
    #: With `until`: the split of all later rows.
    rest: str | None = None
    #: Columns that say what a row is about; not said: the dataset's keys (by key without keys: all
    #: columns, so that equal rows stay together).
    keys: tuple[str, ...] = ()
    #: By key: another seed is another division.
    seed: int = 0
    #: By key: a column whose values are to be found in every split in the same shares.
    stratify: str | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            check_tag(name)
        if len(set(self.names)) != len(self.names) or len(self.names) < 2:
            raise InvalidInput(
                f"Splits have to be two or more of different names, not {list(self.names)}.",
                next_step="Write shares = { train = 0.8, test = 0.2 }.",
            )
        if bool(self.shares) == bool(self.until) or (self.rest is not None) != bool(self.until):
            raise InvalidInput(
                "Splits are said either by shares, or by until and rest.",
                next_step='Write until = { train = "2013-10-01" } and rest = "test".',
            )
        if self.by is SplitBy.KEY and self.until:
            raise InvalidInput(
                "Splits by key have no days.", next_step='Write shares, or by = "time".'
            )
        if self.by is SplitBy.TIME and self.stratify is not None:
            raise InvalidInput(
                "Splits by time cannot be stratified.",
                next_step='Write by = "key", or leave stratify out.',
            )
        self._check_shares()
        self._check_days()

    def _check_shares(self) -> None:
        shares = list(self.shares.values())
        sound = all(math.isfinite(share) and share > 0 for share in shares)
        if shares and (not sound or abs(sum(shares) - 1) > 1e-9):
            raise InvalidInput(
                f"The shares {dict(self.shares)} do not add up to 1.",
                next_step="Give each split a share above 0; together they are 1.",
            )

    def _check_days(self) -> None:
        try:
            days = [date.fromisoformat(day) for day in self.until.values()]
        except ValueError as error:
            raise InvalidInput(
                f"{dict(self.until)} holds what is no day: {error}.",
                next_step='Write days like "2013-10-01".',
            ) from error
        if any(after <= before for before, after in pairwise(days)):
            raise InvalidInput(
                f"The days of {dict(self.until)} do not follow one another.",
                next_step="Name the earliest split first.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the declaration."""
        later = () if self.rest is None else (self.rest,)
        return (*self.shares, *self.until, *later)

    @property
    def bounds(self) -> list[float]:
        """Where the shares end, but for the last: in 0..1.

        >>> SplitsDeclaration(SplitBy.KEY, {"train": 0.5, "dev": 0.25, "test": 0.25}).bounds
        [0.5, 0.75]
        """
        return list(accumulate(self.shares.values()))[:-1]

    @property
    def days(self) -> list[date]:
        return [date.fromisoformat(day) for day in self.until.values()]

    def check_split(self, dataset: str, split: str) -> None:
        if split not in self.names:
            raise not_found(f"split of dataset {dataset}", split, self.names)

    def with_keys(
        self, dataset_keys: tuple[str, ...], columns: tuple[str, ...], *, day: str
    ) -> SplitsDeclaration:
        """With the keys that it goes by when it does not name them; `day` may be among those that
        are named."""
        keys = self.keys or dataset_keys or (columns if self.by is SplitBy.KEY else ())
        for column in (*keys, *(() if self.stratify is None else (self.stratify,))):
            if column not in (*columns, day):
                raise not_found("column that the splits name", column, columns)
        return SplitsDeclaration(**{**self.__dict__, "keys": tuple(keys)})

    def digest_with(self, version_digest: str, split: str) -> str:
        """What names a split: what it is made from, and how."""
        named = {"version": version_digest, "split": split, "definition": self.to_json()}
        return digest_of_json(named)

    def to_json(self) -> dict[str, Any]:
        """The order of the splits is part of what they are."""
        named = {**asdict(self), "by": str(self.by), "keys": list(self.keys)}
        return {
            **named,
            "shares": [[name, share] for name, share in self.shares.items()],
            "until": [[name, day] for name, day in self.until.items()],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SplitsDeclaration:
        """
        >>> made = SplitsDeclaration(SplitBy.TIME, until={"train": "2013-10-01"}, rest="test")
        >>> SplitsDeclaration.from_json(made.to_json()) == made
        True
        """
        return cls(
            **{
                **data,
                "by": SplitBy(data["by"]),
                "keys": tuple(data["keys"]),
                "shares": dict(map(tuple, data["shares"])),
                "until": dict(map(tuple, data["until"])),
            }
        )
