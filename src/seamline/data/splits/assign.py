"""Which split a row is in: pure, the same everywhere and for ever."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.data.declaration import DAY
from seamline.data.splits.definition import SplitBy, SplitsDeclaration
from seamline.measure.hashing import HASH_BITS, hash_texts

Places = npt.NDArray[np.int64]
Fractions = npt.NDArray[np.float64]

#: Between the values of one key, and in the place of a missing one.
_BETWEEN, _MISSING = "\x1f", "\x00"
_KEY, _PLACE, _STRATUM = "key", "place", "stratum"


def needed_columns(definition: SplitsDeclaration) -> list[str]:
    stratify = () if definition.stratify is None else (definition.stratify,)
    return list(dict.fromkeys((*definition.keys, *stratify, DAY)))


def assign_splits(frame: pl.DataFrame, definition: SplitsDeclaration) -> Places:
    """Of each row of a whole version the number of its split, in the definition's order.

    `frame` has the `needed_columns`. All rows of a key have one number.

    >>> halves = SplitsDeclaration(SplitBy.KEY, {"a": 0.5, "b": 0.5}, keys=("id",))
    >>> frame = pl.DataFrame({"id": [1, 2, 3, 4, 1], "ds": ["2013-01-01"] * 5})
    >>> assign_splits(frame, halves).tolist()
    [0, 1, 0, 1, 0]
    """
    if definition.by is SplitBy.TIME:
        return _by_time(frame, definition)
    keys = key_texts(frame, definition.keys)
    if definition.stratify is None:
        return _places(key_fractions(keys, str(definition.seed)), definition.bounds)
    return _stratified(frame, keys, definition)


def _by_time(frame: pl.DataFrame, definition: SplitsDeclaration) -> Places:
    days = frame[DAY]
    if definition.keys:
        # A key is where its last row is: then no split before has a row from after its end.
        keys = key_texts(frame, definition.keys)
        days = pl.DataFrame({_KEY: keys, DAY: days}).select(pl.col(DAY).max().over(_KEY))[DAY]
    if definition.until:
        bounds = pl.Series(definition.days, dtype=pl.Date).to_numpy()
        return np.searchsorted(bounds, days.to_numpy(), side="right").astype(np.int64)
    known = days.unique().sort()
    place = np.searchsorted(known.to_numpy(), days.to_numpy())
    return _places((place + 0.5) / max(1, len(known)), definition.bounds)


def _stratified(frame: pl.DataFrame, keys: pl.Series, definition: SplitsDeclaration) -> Places:
    """Each stratum's keys in the order of their hashes, cut at the shares: a split's share of a
    stratum is exact to one key. Where the cuts fall is turned by the stratum's own hash, or small
    strata would all fall to the same split. A key with several labels has a stratum for that."""
    labels = key_texts(frame, (definition.stratify or "",))
    strata = (
        pl.DataFrame({_KEY: keys, _STRATUM: labels})
        .group_by(_KEY)
        .agg(pl.col(_STRATUM).unique().sort().str.join(_BETWEEN))
    )
    ordered = strata.with_columns(
        pl.Series("at", key_fractions(strata[_KEY], str(definition.seed))),
        pl.Series("turn", key_fractions(strata[_STRATUM], str(definition.seed))),
    ).sort(_STRATUM, "at", _KEY)
    position = pl.int_range(pl.len()).over(_STRATUM)
    share = ((position + pl.col("turn")) / pl.len().over(_STRATUM)).alias("share")
    placed = ordered.with_columns(share)
    places = _places(placed["share"].to_numpy(), definition.bounds)
    placed = placed.select(_KEY, pl.Series(_PLACE, places))
    joined = pl.DataFrame({_KEY: keys}).join(placed, on=_KEY, how="left", maintain_order="left")
    return joined[_PLACE].to_numpy().astype(np.int64)


def key_texts(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Each row's values as one text.

    Whole numbers are the same text whether their column may hold fractions or not: a key stays in
    its split when the table has become wider.

    >>> key_texts(pl.DataFrame({"id": [1.0, 1.5, None]}), ["id"]).to_list()
    ['1', '1.5', '\\x00']
    """
    parts = [_text_of(frame.schema[name], name).fill_null(_MISSING) for name in columns]
    return frame.select(pl.concat_str(parts, separator=_BETWEEN).alias(_KEY)).to_series()


def _text_of(kind: pl.DataType, name: str) -> pl.Expr:
    value = pl.col(name)
    if not kind.is_float():
        return value.cast(pl.String)
    whole = value.cast(pl.Int64, strict=False)
    is_whole = whole.cast(kind) == value
    return pl.when(is_whole).then(whole.cast(pl.String)).otherwise(value.cast(pl.String))


def key_fractions(texts: pl.Series, salt: str) -> Fractions:
    """In 0..1, evenly over different texts; another salt gives others."""
    salted = pl.select(pl.concat_str(pl.lit(f"{salt}{_BETWEEN}"), texts)).to_series()
    return hash_texts(salted).astype(np.float64) / float(1 << HASH_BITS)


def _places(fractions: Fractions, bounds: Sequence[float]) -> Places:
    return np.searchsorted(np.asarray(bounds), fractions, side="right").astype(np.int64)
