"""What a project declares about a dataset."""

from __future__ import annotations

import dataclasses
import re
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seamline.data.labels.definition import LabelsDeclaration
from seamline.data.locations import parse_location
from seamline.data.mirror.recipe import MirrorDeclaration
from seamline.data.retention import RetentionDeclaration
from seamline.data.splits.definition import SplitsDeclaration
from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.contracts import NULL_VALUES, Policy

#: The partition column of every dataset: the local day of the row's event, or of its insertion.
DAY = "ds"

_LONGEST_UNIT = 32
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Mode(StrEnum):
    #: A delivery adds rows.
    APPEND = "append"
    #: A delivery is the whole table anew; older versions keep their rows.
    REPLACE = "replace"


class Partition(StrEnum):
    """What a row's day is: that of its event, or that of its insertion."""

    EVENT = "event"
    INSERTION = "insertion"


@dataclass(frozen=True)
class DatasetDeclaration:
    """A row's day comes from `time` (one column) or from `date` (year, month and day columns);
    where neither is declared, it is the day on which the row came in.

    Times that carry an offset are moved to `zone`; times without one are local times of `zone`;
    a delivery in which some do and some do not is refused. `time_format` is a strftime pattern;
    without it times are ISO 8601. `from_output` = "pipeline.output" makes a version of each such
    run output.
    """

    name: str
    time: str | None = None
    time_format: str | None = None
    zone: str = "UTC"
    date: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    null_values: tuple[str, ...] = NULL_VALUES
    label: str | None = None
    #: Path or URI that deliveries are read from; it holds no password.
    source: str | None = None
    from_output: str | None = None
    #: A delivery adds rows (`append`), or is the whole table anew (`replace`).
    mode: Mode = Mode.APPEND
    #: `event`: rows lie by the day that `time` or `date` tells; `insertion`: by the day on which
    #: they came in. Not said: `event` where `time` or `date` is declared.
    partition: Partition | None = None
    #: SELECT that is asked of a database `source`.
    query: str | None = None
    #: Table of a database `source`, instead of a query: TABLE or SCHEMA.TABLE.
    table: str | None = None
    #: Version of a Delta table `source`; not said: its newest.
    version: int | None = None
    #: Column of a database `source` that only grows: only rows above its last value are fetched.
    since: str | None = None
    #: Secret of the environment that holds what the `source` asks for.
    credentials: str | None = None
    #: File with the contract, beside seamline.toml; without one, the first delivery makes it.
    contract: str | None = None
    #: What a breach of a contract without a file does: refuse, quarantine, trigger or warn.
    on_breach: Policy | None = None
    #: Train, validation and test parts of each version.
    splits: SplitsDeclaration | None = None
    #: Labels that arrive in another dataset, later than the rows.
    labels: LabelsDeclaration | None = None
    #: What another environment gets of it.
    mirror: MirrorDeclaration | None = None
    #: Which versions may lose their rows; not said: none.
    retention: RetentionDeclaration | None = None
    #: Column → the unit that its numbers are in ("mi", "min"); models that take it say so, too.
    units: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_dataset_name(self.name)
        if self.time is not None and self.date:
            raise InvalidInput(
                f"Dataset {self.name} says twice which day a row belongs to.",
                next_step='Give either time = "COLUMN" or date = ["YEAR", "MONTH", "DAY"].',
            )
        if self.partition is Partition.EVENT and not self.has_event_day:
            raise InvalidInput(
                f"Dataset {self.name} has to say which day a row belongs to.",
                next_step='Give time = "COLUMN" or date = ["YEAR", "MONTH", "DAY"], '
                'or partition = "insertion".',
            )
        if self.date and len(self.date) != 3:
            raise InvalidInput(
                f"Dataset {self.name}: date has to name three columns, not {list(self.date)}.",
                next_step='Write date = ["YEAR", "MONTH", "DAY"], or time for a single column.',
            )
        if self.from_output is not None and not all(self.from_output.partition(".")):
            raise InvalidInput(
                f"Dataset {self.name}: {self.from_output!r} names no run output.",
                next_step='Write from_output = "PIPELINE.OUTPUT".',
            )
        if self.source is not None:
            parse_location(self.source)  # refuses passwords
        if self.query is not None and self.table is not None:
            raise InvalidInput(
                f"Dataset {self.name} has both a query and a table.",
                next_step="Give one of the two.",
            )
        if self.contract is not None and self.on_breach is not None:
            raise InvalidInput(
                f"Dataset {self.name} has a contract and on_breach.",
                next_step=f"Write on_breach in {self.contract}.",
            )
        _check_zone(self.name, self.zone)
        check_units(f"Dataset {self.name}", self.units)

    @property
    def has_event_day(self) -> bool:
        """Whether the rows themselves tell a day."""
        return self.time is not None or bool(self.date)

    @property
    def lies_by(self) -> Partition:
        if self.partition is not None:
            return self.partition
        return Partition.EVENT if self.has_event_day else Partition.INSERTION

    @property
    def day_columns(self) -> tuple[str, ...]:
        """The columns that tell the day of a row's event."""
        return self.date if self.time is None else (self.time,)

    @property
    def named_columns(self) -> tuple[str, ...]:
        """Every column that the declaration names, once each."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys((*self.day_columns, *self.keys, *label, *self.units)))

    def to_json(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        if not self.units:
            del fields["units"]  # as declarations of earlier versions were written
        plain = {
            key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()
        }
        for key in _TABLES:
            told = getattr(self, key)
            plain[key] = None if told is None else told.to_json()
        return plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetDeclaration:
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        if fields.get("partition") is not None:
            fields["partition"] = Partition(fields["partition"])
        if fields.get("on_breach") is not None:
            fields["on_breach"] = Policy(fields["on_breach"])
        for key, table in _TABLES.items():
            if fields.get(key) is not None:
                fields[key] = table(fields[key])
        return cls(**{**fields, "mode": Mode(fields.get("mode", Mode.APPEND))})


#: Tables inside of the dataset's own, and how each is read back.
_TABLES: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "splits": SplitsDeclaration.from_json,
    "labels": LabelsDeclaration.from_json,
    "mirror": MirrorDeclaration.from_json,
    "retention": lambda said: RetentionDeclaration(**said),
}


def check_dataset_name(name: str) -> str:
    """The name itself, if it can be one (it becomes a folder).

    >>> check_dataset_name("flights")
    'flights'
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot be the name of a dataset.",
            next_step="Use lower-case letters, digits and - (at most 63).",
        )
    return name


def check_units(what: str, units: Mapping[str, str]) -> None:
    """InvalidInput for what cannot be printed beside a number.

    >>> check_units("Dataset flights", {"distance": "mi", "temp": "°F", "tax": ""})
    """
    for column, unit in units.items():
        if not unit.isprintable() or unit != unit.strip() or len(unit) > _LONGEST_UNIT:
            raise InvalidInput(
                f"{what}: {unit!r} cannot be the unit of {column}.",
                next_step=f"Use at most {_LONGEST_UNIT} printable characters, as in mi, min or °F.",
            )


def _check_zone(dataset: str, zone: str) -> None:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInput(
            f"Dataset {dataset}: there is no time zone {zone!r}.",
            next_step=nearest(zone, zoneinfo.available_timezones()),
        ) from error
