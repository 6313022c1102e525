"""What an evaluation is given, as arrays; refused by name where it cannot be measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from seamline.domain.errors import InvalidInput, not_found
from seamline.measure.evaluation.blocks import Blocks, independent_rows, join_blocks
from seamline.measure.evaluation.cells import Coded, Labels, encode
from seamline.measure.evaluation.metrics.arrays import check_finite
from seamline.measure.exact import Floats

Numbers = npt.ArrayLike | pl.Series

#: Of a column with more values, those under the minimum size are put together.
MAX_LISTED = 500


def read_labels(labels: Numbers) -> Floats:
    """Zeros and ones."""
    truth = read_floats(labels, "labels", None)
    if not np.isin(truth, (0.0, 1.0)).all():
        raise InvalidInput("Labels must be 0 or 1.", next_step="Map the two classes to 0 and 1.")
    return truth


def read_floats(values: float | Numbers, name: str, n_rows: int | None) -> Floats:
    """One finite float per row; a single number stands for all rows."""
    if isinstance(values, pl.Series):
        values = values.cast(pl.Float64).to_numpy()
    array = np.asarray(values, np.float64)
    if array.ndim == 0 and n_rows is not None:
        array = np.full(n_rows, array)
    if array.ndim != 1 or not len(array) or len(array) != (n_rows or len(array)):
        raise InvalidInput(
            f"{name}: an array of shape {array.shape} for {n_rows or 'at least one'} rows.",
            next_step="Give one number per row.",
        )
    return check_finite(name, array)


def read_scores(values: float | Numbers, name: str, n_rows: int) -> Floats:
    scores = read_floats(values, name, n_rows)
    if scores.min() < 0 or scores.max() > 1:
        raise InvalidInput(
            f"{name} reach from {scores.min():g} to {scores.max():g}; probabilities lie in 0..1.",
            next_step="Let the prediction pipeline return probabilities.",
        )
    return scores


def read_blocks(blocks: Labels | None, n_rows: int, seed: int = 0) -> Blocks:
    """None: the declaration says that rows are independent."""
    if blocks is None:
        return independent_rows(n_rows, seed)
    coded = encode(blocks, "blocks", n_rows)
    return join_blocks(coded.codes, coded.names, seed)


def read_slices(
    slices: Mapping[str, Labels] | None, n_rows: int, min_rows: int
) -> dict[str, Coded]:
    given = slices or {}
    return {
        column: put_small_together(encode(given[column], f"Slice {column}", n_rows), min_rows)
        for column in given
    }


def put_small_together(coded: Coded, min_rows: int) -> Coded:
    """Of a column with thousands of values (a customer's number), those that are too small to say
    anything become one slice, named by how many they are.

    >>> many = encode([*range(2000)] * 2 + ["big"] * 300, "customer")
    >>> put_small_together(many, 200).names
    ('(2,000 values with fewer than 200 rows)', 'big')
    """
    if len(coded.names) <= MAX_LISTED:
        return coded
    is_small = np.bincount(coded.codes, minlength=len(coded.names)) < min_rows
    if not is_small.any():
        return coded
    name = f"({int(is_small.sum()):,} values with fewer than {min_rows:,} rows)"
    kept = [one for one, small in zip(coded.names, is_small, strict=True) if not small]
    codes = np.where(is_small, 0, np.cumsum(~is_small))[coded.codes]
    return Coded((name, *kept), codes.astype(np.int64))


def pick_slices(columns: Collection[str], slices: Mapping[str, Coded]) -> dict[str, Coded]:
    for column in columns:
        if column not in slices:
            raise not_found("slice column", column, slices)
    return {column: slices[column] for column in columns}
