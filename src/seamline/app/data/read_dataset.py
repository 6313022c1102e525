"""Rows of a version or a split as people ask for them: columns, days, labels, as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from seamline.app.platform import Platform
from seamline.data.declaration import DatasetDeclaration
from seamline.data.labels.definition import LabelsDeclaration
from seamline.data.labels.join import AsOf, join_labels, known_labels, time_column
from seamline.data.sinks.files import write_rows, writer_for
from seamline.data.splits.read import Split, find_split, read_split_frames
from seamline.data.versions.find import find_dataset, find_named, find_version
from seamline.data.versions.read import empty_frame, read_frames, read_version, wanted_columns
from seamline.data.versions.version import DatasetVersion, parse_reference
from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput, NotFound

#: Rows that are shown when nobody says how many.
SHOWN_ROWS = 20


@dataclass(frozen=True)
class ReadOrder:
    """`limit`: not given, all rows. `as_of`: with labels, the moment that they were known at."""

    columns: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    limit: int | None = None
    with_labels: bool = False
    as_of: datetime | None = None
    #: Version of the labels' dataset; not given: its newest.
    labels: str | None = None


@dataclass(frozen=True)
class FoundRows:
    """Exactly the rows that were asked for. `told` says of what they are."""

    schema: pl.Schema
    frames: Callable[[], Iterator[pl.DataFrame]]
    limit: int | None
    told: dict[str, Any] = field(default_factory=dict)

    def batches(self) -> Iterator[pl.DataFrame]:
        left = self.limit
        for frame in self.frames():
            if left is not None:
                if left <= 0:
                    return
                frame = frame.head(left)
                left -= frame.height
            yield frame


def find_rows(platform: Platform, reference: str, order: ReadOrder) -> FoundRows:
    """Raises NotFound or InvalidInput for what is not there; rows are read when they are taken."""
    stores, named = platform.stores, parse_reference(reference)
    if order.limit is not None and order.limit < 0:
        raise InvalidInput(
            f"A limit of {order.limit} rows makes no sense.",
            next_step="Ask for 0 rows or more, or leave the limit out for all of them.",
        )
    version = find_named(stores, named)
    declared = _declaration(platform, version)
    told: dict[str, Any] = {"reference": version.reference, "digest": version.digest}
    split: Split | None = None
    if named.split is not None:
        split = find_split(stores, version, named.split, declared)
        told |= {"reference": split.reference, "digest": split.digest}
    if not order.with_labels:
        wanted = wanted_columns(version, order.columns or None)

        def frames() -> Iterator[pl.DataFrame]:
            return _frames(platform, version, split, order, wanted)

        schema = empty_frame(version).select(wanted).schema
        return FoundRows(schema, frames, order.limit, told)
    return _with_labels(platform, version, split, declared, order, told)


def show_rows(platform: Platform, reference: str, order: ReadOrder) -> dict[str, Any]:
    """As JSON values."""
    found = find_rows(platform, reference, order)
    frame = pl.concat([pl.DataFrame(schema=found.schema), *found.batches()])
    return {**found.told, "columns": frame.columns, "rows": _plain(frame).rows()}


def write_found(found: FoundRows, path: Path) -> None:
    """In the format that the file's name says."""
    write_rows(path, writer_for(path.name), found)


def _with_labels(
    platform: Platform,
    version: DatasetVersion,
    split: Split | None,
    declared: DatasetDeclaration,
    order: ReadOrder,
    told: dict[str, Any],
) -> FoundRows:
    definition = _labels_of(declared)
    as_of = AsOf(order.as_of or platform.stores.clock.now())
    labelled = find_version(platform.stores, order.labels or definition.dataset)
    if labelled.dataset != definition.dataset:
        raise InvalidInput(
            f"The labels of {version.dataset} are those of {definition.dataset}, not of "
            f"{labelled.dataset}.",
            next_step=f"Name a version of {definition.dataset}.",
        )
    labels = read_version(platform.stores, labelled, definition.columns)
    known = known_labels(labels, definition, as_of, zone=_declaration(platform, labelled).zone)
    time = time_column(declared.time)
    # What they are joined by is read, too, whether it is shown or not.
    shown = wanted_columns(version, order.columns or None)
    needed = list(dict.fromkeys((*shown, *definition.keys, time)))
    wanted_columns(version, needed)

    def join(frame: pl.DataFrame) -> pl.DataFrame:
        joined = join_labels(frame, known, definition, as_of, time, zone=declared.zone)
        return joined.drop(name for name in needed if name not in shown)

    def frames() -> Iterator[pl.DataFrame]:
        return map(join, _frames(platform, version, split, order, needed))

    told = {**told, "labels": labelled.reference, "as_of": iso(as_of.at)}
    empty = join(empty_frame(version).select(needed))
    return FoundRows(empty.schema, frames, order.limit, told)


def _frames(
    platform: Platform,
    version: DatasetVersion,
    split: Split | None,
    order: ReadOrder,
    columns: list[str],
) -> Iterator[pl.DataFrame]:
    asked = (columns, order.since, order.until)
    if split is not None:
        return read_split_frames(platform.stores, split, *asked)
    return read_frames(platform.stores, version, *asked)


def _declaration(platform: Platform, version: DatasetVersion) -> DatasetDeclaration:
    """As it is declared now; of a dataset that no project declares any more, as it was."""
    declared = platform.declarations().datasets.get(version.dataset)
    if declared is not None:
        return declared
    with platform.stores.db.read() as connection:
        found = find_dataset(connection, version.dataset)
    assert found is not None  # it has a version
    return found.declaration


def _labels_of(declared: DatasetDeclaration) -> LabelsDeclaration:
    if declared.labels is None:
        raise NotFound(
            f"Dataset {declared.name} declares no labels.",
            next_step=f"Write [datasets.{declared.name}.labels] in seamline.toml and apply it.",
        )
    return declared.labels


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as text, and no NaN: as JSON has it."""
    casts = []
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Datetime):
            casts.append(pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        elif dtype == pl.Date:
            casts.append(pl.col(name).cast(pl.String))
        elif dtype.is_float():
            casts.append(pl.when(pl.col(name).is_finite()).then(pl.col(name)))
    return frame.with_columns(casts)
