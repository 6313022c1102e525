"""Sampling and masking: pure, the same for the same rows, recipe and key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from seamline.data.declaration import DatasetDeclaration
from seamline.data.mirror.recipe import Mask, MirrorDeclaration
from seamline.data.splits.assign import key_fractions, key_texts
from seamline.domain.errors import InvalidInput, not_found
from seamline.measure.casting import by_distinct

#: Shorter keys could be found by trying them on values that are known.
LEAST_KEY_BYTES = 16
_HASH_DIGITS = 32


def check_recipe(
    recipe: MirrorDeclaration, declared: DatasetDeclaration, columns: Sequence[str]
) -> None:
    """Raises where a column is not there, or where rows would lose their day or their key."""
    for column in (*recipe.mask, *recipe.keys):
        if column not in columns:
            raise not_found(f"column of dataset {declared.name}", column, columns)
    for column in declared.day_columns:
        if column in recipe.mask:
            raise InvalidInput(
                f"{column!r} tells the day of the rows of {declared.name} and cannot be masked.",
                next_step="Leave it out of mask.",
            )
    for column in declared.keys:
        if recipe.mask.get(column, Mask.HASH) is not Mask.HASH:
            raise InvalidInput(
                f"{column!r} is a key of {declared.name}: it can be hashed, and nothing else.",
                next_step=f'Write mask = {{ {column} = "hash" }}, or leave it out.',
            )
    if len(recipe.mask) == len(columns) and set(recipe.mask.values()) == {Mask.DROP}:
        raise InvalidInput("A mirror without columns says nothing.", next_step="Keep one.")


def is_sampled(frame: pl.DataFrame, keys: Sequence[str], recipe: MirrorDeclaration) -> pl.Series:
    """Whether each row is among the fraction; all rows of a key are, or none is."""
    if recipe.fraction >= 1:
        return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
    fractions = key_fractions(key_texts(frame, keys), f"mirror {recipe.seed}")
    return pl.Series(fractions < recipe.fraction)


def mask_frame(
    frame: pl.DataFrame,
    recipe: MirrorDeclaration,
    key: bytes,
    shuffled: Mapping[str, pl.Series] | None = None,
) -> pl.DataFrame:
    """`shuffled` has, for the columns that are shuffled, the values that these rows get.

    >>> said = MirrorDeclaration(mask={"name": Mask.HASH, "zip": Mask.CONSTANT, "note": Mask.DROP},
    ...                          constants={"zip": "00000"}, secret="mirror")
    >>> frame = pl.DataFrame({"name": ["Ada", None], "zip": ["10115", None], "note": ["a", "b"]})
    >>> mask_frame(frame, said, b"sixteen bytes...").rows()
    [('49699d0eafffcbbc960296276d49847a', '00000'), (None, None)]
    """
    columns = []
    for series in frame:
        mask = recipe.mask.get(series.name)
        if mask is None:
            columns.append(series)
        elif mask is Mask.HASH:
            columns.append(hash_values(series, key))
        elif mask is Mask.SHUFFLE:
            columns.append((shuffled or {})[series.name].alias(series.name))
        elif mask is Mask.CONSTANT:
            columns.append(_constant(series, recipe.constants[series.name]))
    return pl.DataFrame(columns)


def hash_values(series: pl.Series, key: bytes) -> pl.Series:
    """HMAC-SHA256 of each value's text, in 32 digits; missing stays missing. Columns of any name
    hash alike, so that what could be joined still can be."""

    def hash_distinct(values: pl.Series) -> pl.Series:
        found = [
            None
            if value is None
            else hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:_HASH_DIGITS]
            for value in values
        ]
        return pl.Series(values.name, found, dtype=pl.String)

    return by_distinct(series.cast(pl.String), hash_distinct)


def shuffle_values(series: pl.Series, key: bytes) -> pl.Series:
    """In an order that only the key tells."""
    salt = hmac.new(key, f"shuffle {series.name}".encode(), hashlib.sha256).digest()
    places = [
        hashlib.blake2b(place.to_bytes(8, "big"), key=salt, digest_size=8).digest()
        for place in range(len(series))
    ]
    return series[np.argsort(np.array(places, dtype="S8"), kind="stable")]


def _constant(series: pl.Series, text: str) -> pl.Series:
    """Of the column's own type, where the text can be that."""
    try:
        value = pl.Series([text]).cast(series.dtype)
    except pl.exceptions.PolarsError:
        value = pl.Series([text])
    found = value.new_from_index(0, len(series)).alias(series.name)
    return found.set(series.is_null(), None) if series.null_count() else found
