"""Two versions compared row by row, by their keys; in bounded memory.

Files that both versions have cancel out. The rows of the others fall into buckets by a hash of
their keys, and one bucket of each side is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import polars as pl

from seamline.data.declaration import DAY, DatasetDeclaration
from seamline.data.diff.wording import cut
from seamline.data.versions import (
    DatasetVersion,
    VersionFile,
    find_dataset,
    read_file,
    version_files,
)
from seamline.data.versions.read import check_kept
from seamline.domain.errors import InvalidInput, not_found
from seamline.measure.casting import POLARS_TYPES, DType, cast_series
from seamline.measure.inference import wider
from seamline.store.stores import Stores

#: Rows of a side that are in memory at a time, about.
BUCKET_ROWS = 500_000
EXAMPLES = 5
_NTH, _IN_BEFORE, _IN_AFTER = "\0nth", "\0before", "\0after"


@dataclass(frozen=True)
class CellChange:
    key: tuple[str, ...]
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ColumnChanges:
    column: str
    n: int
    examples: tuple[CellChange, ...] = ()


@dataclass(frozen=True)
class RowDiff:
    """`columns`: those with changed cells, the most changed first. `examples_*`: keys."""

    keys: tuple[str, ...]
    added: int
    removed: int
    changed: int
    columns: tuple[ColumnChanges, ...] = ()
    examples_added: tuple[tuple[str, ...], ...] = ()
    examples_removed: tuple[tuple[str, ...], ...] = ()

    @property
    def differs(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_rows(
    stores: Stores,
    before: DatasetVersion,
    after: DatasetVersion,
    *,
    bucket_rows: int = BUCKET_ROWS,
) -> RowDiff:
    """Rows with the same key are the same row; of several with one key the first is held against
    the first. Columns that the dataset's mirror masks are compared, and their values not shown.

    A cell whose type has changed is the same if it reads as the value that it was.
    """
    declaration = _declaration(stores, before, after)
    for version in (before, after):
        check_kept(stores, version)
    keys, mirror = _key_types(declaration.keys, before, after), declaration.mirror
    hidden = frozenset(() if mirror is None else mirror.mask)
    sides = _uncommon(stores, before, after)
    rows = max(sum(file.rows for file in side) for side in sides)
    buckets = max(-(-rows // bucket_rows), 1)
    found = RowDiff(declaration.keys, 0, 0, 0)
    for bucket in range(buckets):
        frames = [
            _bucket(stores, version, files, keys, bucket, buckets)
            for version, files in zip((before, after), sides, strict=True)
        ]
        found = _add(found, _compare(frames[0], frames[1], declaration.keys, hidden))
    columns = sorted(found.columns, key=lambda one: (-one.n, one.column))
    return replace(found, columns=tuple(columns))


def _declaration(
    stores: Stores, before: DatasetVersion, after: DatasetVersion
) -> DatasetDeclaration:
    with stores.db.read() as connection:
        dataset = find_dataset(connection, after.dataset)
    if dataset is None or not dataset.declaration.keys:
        raise InvalidInput(
            f"Dataset {after.dataset} declares no keys: its rows have no names to be compared by.",
            next_step=f'Write keys = ["COLUMN"] in [datasets.{after.dataset}].',
        )
    for version in (before, after):
        known = {**dict(version.schema), DAY: DType.DATE}  # the day may be a key
        for key in dataset.declaration.keys:
            if key not in known:
                raise not_found(f"column of {version.reference}", key, known)
    return dataset.declaration


def _key_types(
    keys: Sequence[str], before: DatasetVersion, after: DatasetVersion
) -> dict[str, pl.DataType]:
    """What the keys of both sides are compared as: 7 and 7.0 are the same key."""
    sides = [{**dict(one.schema), DAY: DType.DATE} for one in (before, after)]
    pairs = {key: [DType(side[key]) for side in sides] for key in keys}
    return {key: POLARS_TYPES[wider(was, now)] for key, (was, now) in pairs.items()}


def _uncommon(
    stores: Stores, before: DatasetVersion, after: DatasetVersion
) -> tuple[list[VersionFile], list[VersionFile]]:
    sides = version_files(stores, before), version_files(stores, after)
    names = [{(file.relative, file.sha256) for file in side} for side in sides]
    common = names[0] & names[1] if before.dataset == after.dataset else set()
    rest = [[f for f in side if (f.relative, f.sha256) not in common] for side in sides]
    return rest[0], rest[1]


def _bucket(
    stores: Stores,
    version: DatasetVersion,
    files: Sequence[VersionFile],
    keys: Mapping[str, pl.DataType],
    bucket: int,
    buckets: int,
) -> pl.DataFrame:
    """The rows of one bucket, with the number of each among those with its key."""
    types = {name: POLARS_TYPES[DType(dtype)] for name, dtype in version.schema}
    columns = list({**types, **keys})  # the day may be a key
    parts = [pl.DataFrame(schema={**types, **keys})]
    for file in files:
        frame = read_file(stores, version, file, list(types))
        frame = frame.with_columns(pl.col(key).cast(dtype) for key, dtype in keys.items())
        if buckets > 1:
            texts = pl.concat_str([pl.col(key).cast(pl.String) for key in keys], separator="\0")
            frame = frame.filter(texts.fill_null("").hash(seed=0) % buckets == bucket)
        parts.append(frame.select(columns))
    whole = pl.concat(parts)
    return whole.with_columns(pl.int_range(pl.len()).over(list(keys)).alias(_NTH))


def _compare(
    before: pl.DataFrame, after: pl.DataFrame, keys: tuple[str, ...], hidden: frozenset[str]
) -> RowDiff:
    on = [*keys, _NTH]
    shared = [name for name in before.columns if name in after.columns and name not in on]
    left = before.select(*on, *shared).with_columns(pl.lit(True).alias(_IN_BEFORE))
    right = after.select(*on, *shared).with_columns(pl.lit(True).alias(_IN_AFTER))
    joined = left.join(right, on=on, how="full", coalesce=True, nulls_equal=True, suffix="\0new")
    added = joined.filter(pl.col(_IN_BEFORE).is_null()).select(keys)
    removed = joined.filter(pl.col(_IN_AFTER).is_null()).select(keys)
    kept = joined.filter(pl.col(_IN_BEFORE) & pl.col(_IN_AFTER))
    columns, any_changed = [], pl.repeat(False, kept.height, eager=True)
    for name in shared:
        differs = _differing(kept[name], kept[f"{name}\0new"])
        if differs.any():
            any_changed |= differs
            examples = _examples(kept.filter(differs), name, keys, hidden)
            columns.append(ColumnChanges(name, int(differs.sum()), examples))
    return RowDiff(
        keys=keys,
        added=added.height,
        removed=removed.height,
        changed=int(any_changed.sum()),
        columns=tuple(columns),
        examples_added=_key_examples(added, hidden),
        examples_removed=_key_examples(removed, hidden),
    )


def _differing(before: pl.Series, after: pl.Series) -> pl.Series:
    if before.dtype == after.dtype:
        return before.ne_missing(after)
    dtype = next(one for one, kind in POLARS_TYPES.items() if kind == before.dtype)
    if dtype is DType.STRING:
        return before.ne_missing(after.cast(pl.String))
    read = cast_series(after, dtype)
    return before.ne_missing(read) | (read.is_null() & after.is_not_null())


def _examples(
    changed: pl.DataFrame, name: str, keys: tuple[str, ...], hidden: frozenset[str]
) -> tuple[CellChange, ...]:
    if name in hidden:
        return ()
    cells = changed.sort(keys).select(*keys, name, f"{name}\0new").head(EXAMPLES)
    return tuple(
        CellChange(_say_key(row[:-2], keys, hidden), _say_cell(row[-2]), _say_cell(row[-1]))
        for row in cells.iter_rows()
    )


def _key_examples(rows: pl.DataFrame, hidden: frozenset[str]) -> tuple[tuple[str, ...], ...]:
    first = rows.sort(rows.columns).head(EXAMPLES).rows()
    return tuple(_say_key(row, tuple(rows.columns), hidden) for row in first)


def _say_key(
    values: Sequence[object], keys: tuple[str, ...], hidden: frozenset[str]
) -> tuple[str, ...]:
    named = zip(keys, values, strict=True)
    return tuple("(masked)" if key in hidden else _say(value) for key, value in named)


def _say(value: object) -> str:
    return "(missing)" if value is None else cut(str(value))


def _say_cell(value: object) -> str | None:
    return None if value is None else cut(str(value))


def _add(a: RowDiff, b: RowDiff) -> RowDiff:
    return RowDiff(
        keys=a.keys,
        added=a.added + b.added,
        removed=a.removed + b.removed,
        changed=a.changed + b.changed,
        columns=tuple(_add_columns((*a.columns, *b.columns))),
        examples_added=_first((*a.examples_added, *b.examples_added)),
        examples_removed=_first((*a.examples_removed, *b.examples_removed)),
    )


def _add_columns(columns: Iterable[ColumnChanges]) -> Iterator[ColumnChanges]:
    found: dict[str, ColumnChanges] = {}
    for one in columns:
        before = found.get(one.column, ColumnChanges(one.column, 0))
        examples = (*before.examples, *one.examples)[:EXAMPLES]
        found[one.column] = ColumnChanges(one.column, before.n + one.n, examples)
    yield from found.values()


def _first(keys: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    return keys[:EXAMPLES]
