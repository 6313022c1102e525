"""`features` and `outputs` of the log, JSON objects, as the columns that they were."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import polars as pl

from seamline.serve.log.prediction_log import HASHED


def json_rows(frame: pl.DataFrame) -> pl.Series:
    """One JSON object per row, as the log holds them; NaN is null there.

    >>> json_rows(pl.DataFrame({"hour": [5], "share": [float("nan")]})).to_list()
    ['{"hour":5,"share":null}']
    """
    floats = [name for name, kind in frame.schema.items() if kind.is_float()]
    told = frame.with_columns(pl.col(name).fill_nan(None) for name in floats)
    return told.select(pl.struct(pl.all()).struct.json_encode().alias("json")).to_series()


def unpack_json(frame: pl.DataFrame, column: str, types: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The named fields of a JSON text column (`features`, `outputs`) as typed columns."""
    if not types:
        return pl.DataFrame()
    decoded = pl.col(column).str.json_decode(pl.Struct(dict(types)))
    return frame.select(decoded.alias("_")).unnest("_")


def hidden_columns(frame: pl.DataFrame, names: Iterable[str]) -> set[str]:
    """Those of which `features` does not hold, in each row, what was sent: hashed, or unlogged.

    Asked of the rows: what is declared now may have been declared otherwise when they came.
    """
    keys = {name: json.dumps(name, ensure_ascii=False) + ":" for name in names}
    features = pl.col("features")
    asked = frame.select(
        (
            features.str.contains(f'{key}"{HASHED}', literal=True)
            | ~features.str.contains(key, literal=True)
        )
        .any()
        .alias(name)
        for name, key in keys.items()
    )
    return {name for name in keys if asked[name].item()}
