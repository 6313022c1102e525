"""What `[datasets.NAME.labels]` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import InvalidInput


@dataclass(frozen=True)
class LabelsDeclaration:
    """The rows of another dataset label this one's: same keys, and an event at or after theirs.

    A label is known from `arrived` on. Of the labels within the `horizon` that are known as of the
    moment that is asked for, a row gets the one of the latest event; of one event told twice, what
    arrived last.
    """

    #: The dataset that the labels are delivered to.
    dataset: str
    #: Columns of that name in both datasets.
    keys: tuple[str, ...]
    #: Column of the labels' dataset: when what the label tells of happened.
    time: str
    #: Columns of the labels' dataset to be added.
    values: tuple[str, ...]
    #: Column of the labels' dataset: when the label came in; not said: when it happened.
    arrived: str | None = None
    #: How long after the row a label may still be about it, as "30d"; not said: for ever.
    horizon: str | None = None

    def __post_init__(self) -> None:
        if not self.keys or not self.values:
            raise InvalidInput(
                "Labels need keys to be joined by, and values to be added.",
                next_step='Write keys = ["id"] and values = ["label"].',
            )
        if set(self.keys) & set(self.values):
            raise InvalidInput(
                f"{sorted(set(self.keys) & set(self.values))} are keys and values of the labels.",
                next_step="Name a column once.",
            )
        if self.horizon is not None:
            parse_duration_s(self.horizon)

    @property
    def columns(self) -> list[str]:
        """Those of the labels' dataset that are read."""
        arrived = () if self.arrived is None else (self.arrived,)
        return list(dict.fromkeys((*self.keys, self.time, *arrived, *self.values)))

    @property
    def horizon_s(self) -> float | None:
        return None if self.horizon is None else parse_duration_s(self.horizon)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "keys": list(self.keys), "values": list(self.values)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelsDeclaration:
        return cls(**{**data, "keys": tuple(data["keys"]), "values": tuple(data["values"])})
