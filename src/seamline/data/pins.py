"""Pinned references of a dataset: kept, numbered 1, 2, 3 …, and shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, insert, select

from seamline.data.declaration import check_dataset_name
from seamline.data.rows import DATASET_PINS
from seamline.data.sources.warehouses.pins import Pin, PinKind
from seamline.domain.clock import iso
from seamline.domain.facts import DatasetPinned
from seamline.store.stores import Stores


@dataclass(frozen=True)
class PinnedTable:
    dataset: str
    number: int
    pin: Pin
    pinned_by: str
    at: str

    def to_json(self) -> dict[str, Any]:
        columns = [{"name": name, "type": kind} for name, kind in self.pin.columns]
        return {
            **asdict(self.pin),
            "columns": columns,
            "digest": self.pin.digest,
            "dataset": self.dataset,
            "number": self.number,
            "pinned_by": self.pinned_by,
            "at": self.at,
        }


def record_pin(stores: Stores, dataset: str, pin: Pin, *, by: str) -> tuple[PinnedTable, bool]:
    """The pin, and whether it is new: a version that was pinned before is the pin of then."""
    table = DATASET_PINS
    with stores.db.transaction() as tx:
        query = select(table).where(table.c.dataset == check_dataset_name(dataset))
        row = tx.execute(query.where(table.c.digest == pin.digest)).mappings().one_or_none()
        if row is not None:
            return _pinned(row), False
        last = select(func.max(table.c.number)).where(table.c.dataset == dataset)
        number = (tx.execute(last).scalar_one() or 0) + 1
        made = PinnedTable(dataset, number, pin, by, iso(stores.clock.now()))
        values = {**made.to_json(), "columns": json.dumps(pin.columns)}
        tx.execute(insert(table).values(values))
        said = f"{pin.kind} {pin.value}"
        fact = DatasetPinned(dataset, number, pin.digest, pin.uri, said, pin.rows)
        stores.facts.append(tx, fact, by=by)
    return made, True


def list_pins(stores: Stores, dataset: str) -> list[PinnedTable]:
    """Newest first."""
    table = DATASET_PINS
    query = select(table).where(table.c.dataset == check_dataset_name(dataset))
    with stores.db.read() as connection:
        rows = connection.execute(query.order_by(table.c.number.desc())).mappings()
        return [_pinned(row) for row in rows]


def _pinned(row: Mapping[Any, Any]) -> PinnedTable:
    columns = tuple((name, kind) for name, kind in json.loads(row["columns"]))
    kind = PinKind(row["kind"])
    pin = Pin(row["uri"], kind, row["value"], row["statement"], columns, row["rows"])
    return PinnedTable(row["dataset"], row["number"], pin, row["pinned_by"], row["at"])
