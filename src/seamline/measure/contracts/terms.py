"""What a contract says: of each column, of rows, of a whole delivery, and what a breach does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import rfc8785

from seamline.domain.digests import Digest, digest_of
from seamline.domain.errors import InvalidInput
from seamline.measure.casting import DType

#: Strings that count as missing unless a contract says otherwise.
NULL_VALUES = ("", "NA", "NaN")


class Policy(StrEnum):
    """What a breach does."""

    #: The delivery is refused; nothing but a fact is written.
    REFUSE = "refuse"
    #: The rows that break the rule go to a table of their own, with the reasons; the others in.
    QUARANTINE = "quarantine"
    #: Committed, told, and a fact that triggers of the dataset's models react to.
    TRIGGER = "trigger"
    #: Committed, and told with the version.
    WARN = "warn"


@dataclass(frozen=True)
class Column:
    """`low` and `high` bound int and float columns, both included; `values` closes the set.

    `pattern` is a regular expression (of Rust: linear in time) for the whole text; `unique`: no
    value twice within a delivery; `drift`: the largest population stability index against the
    profile of the newest version.
    """

    name: str
    dtype: DType
    nullable: bool = True
    required: bool = True
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    pattern: str | None = None
    unique: bool = False
    drift: float | None = None
    on_drift: Policy | None = None
    on_breach: Policy | None = None

    @property
    def is_bounded(self) -> bool:
        has_bounds = self.low is not None or self.high is not None
        return has_bounds and self.dtype in (DType.INT, DType.FLOAT)

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the defaults is written, so that a person can read it."""
        data: dict[str, Any] = {"name": self.name, "dtype": str(self.dtype)}
        data |= {"nullable": self.nullable, "required": self.required}
        optional = ("low", "high", "pattern", "drift", "on_drift", "on_breach")
        data |= {key: getattr(self, key) for key in optional if getattr(self, key) is not None}
        data |= {"unique": True} if self.unique else {}
        return data if self.values is None else data | {"values": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Column:
        fields = dict(data)
        try:
            fields["dtype"] = DType(data["dtype"])
            fields |= {key: Policy(data[key]) for key in ("on_drift", "on_breach") if key in data}
            if data.get("values") is not None:
                fields["values"] = tuple(data["values"])
            return cls(**fields)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"{fields!r} is not a contract column: {error}.",
                next_step=f"Give name and dtype, one of {', '.join(DType)}.",
            ) from error


@dataclass(frozen=True)
class RowBounds:
    """How many rows a delivery has; `least_share` and `most_share` are of the one before."""

    at_least: int | None = None
    at_most: int | None = None
    least_share: float | None = None
    most_share: float | None = None
    on_breach: Policy | None = None


@dataclass(frozen=True)
class Freshness:
    """The newest event of a delivery is at most so old when it is committed."""

    max_age_s: float
    on_breach: Policy | None = None


@dataclass(frozen=True)
class RowRule:
    """An expression over the columns (see `expressions`); a row breaks it where it is false."""

    name: str
    holds: str
    on_breach: Policy | None = None


@dataclass(frozen=True)
class Contract:
    columns: tuple[Column, ...]
    null_values: tuple[str, ...] = NULL_VALUES
    on_breach: Policy = Policy.REFUSE
    rules: tuple[RowRule, ...] = ()
    rows: RowBounds | None = None
    freshness: Freshness | None = None
    #: The dataset's keys are in the table only once, not only in each delivery.
    unique_in_table: bool = False

    @cached_property
    def digest(self) -> Digest:
        return digest_of(rfc8785.dumps(self.to_json()))

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def policy(self, rule_policy: Policy | None) -> Policy:
        return self.on_breach if rule_policy is None else rule_policy

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "columns": [column.to_json() for column in self.columns],
            "null_values": list(self.null_values),
        }
        data |= {} if self.on_breach is Policy.REFUSE else {"on_breach": str(self.on_breach)}
        data |= {"rules": [_told(rule) for rule in self.rules]} if self.rules else {}
        data |= {"rows": _told(self.rows)} if self.rows is not None else {}
        data |= {"freshness": _told(self.freshness)} if self.freshness is not None else {}
        return data | ({"unique_in_table": True} if self.unique_in_table else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contract:
        rows, freshness = data.get("rows"), data.get("freshness")
        return cls(
            tuple(Column.from_json(column) for column in data["columns"]),
            tuple(data.get("null_values", NULL_VALUES)),
            Policy(data.get("on_breach", Policy.REFUSE)),
            tuple(RowRule(**_read(rule)) for rule in data.get("rules", ())),
            None if rows is None else RowBounds(**_read(rows)),
            None if freshness is None else Freshness(**_read(freshness)),
            data.get("unique_in_table", False),
        )


def _told(rule: RowRule | RowBounds | Freshness) -> dict[str, Any]:
    return {key: value for key, value in asdict(rule).items() if value is not None}


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    policy = data.get("on_breach")
    return {**data, "on_breach": None if policy is None else Policy(policy)}
