"""Sketches: exact counts of what is named, whatever the split; a fair estimate of the rest."""

from __future__ import annotations

import json
import struct
from collections import Counter
from functools import reduce
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.measure.hashing import HASH_BITS, hash_numbers, hash_numbers_below, hash_texts
from seamline.measure.sketches import (
    DISTINCT_ERROR,
    K_HASHES,
    K_VALUES,
    LONG_TEXT,
    Sketch,
    add_sketches,
    name_numbers,
    sketch_numbers,
    sketch_texts,
)

#: Few enough to repeat, enough to overflow a sketch.
words = st.lists(st.integers(0, 600).map(lambda i: f"w{i}") | st.text(max_size=9), max_size=400)


def _sketch(texts: list[str]) -> Sketch:
    counted = Counter(texts)
    return sketch_texts(pl.Series(list(counted), dtype=pl.String), np.array([*counted.values()]))


@settings(max_examples=40, deadline=None)
@given(words, st.lists(st.integers(0, 400), max_size=4), st.randoms())
def test_the_sketch_of_the_whole_is_the_sum_of_its_parts_in_any_order(texts, cuts, random) -> None:
    bounds = [0, *sorted(min(cut, len(texts)) for cut in cuts), len(texts)]
    parts = [_sketch(texts[a:b]) for a, b in pairwise(bounds)]
    random.shuffle(parts)
    whole = _sketch(texts)
    assert add_sketches(parts) == whole
    assert reduce(lambda a, b: add_sketches([a, b]), parts, Sketch()) == whole
    assert Sketch.from_json(json.loads(json.dumps(whole.to_json()))) == whole


@settings(max_examples=30, deadline=None)
@given(words)
def test_named_values_are_counted_exactly_and_absent_ones_surely_absent(texts) -> None:
    counted, sketch = Counter(texts), _sketch(texts)
    assert len(sketch.values) == min(len(counted), K_VALUES)
    for value, count in zip(sketch.values, sketch.counts, strict=True):
        assert counted[value] == count
    assert sketch.is_complete == (len(counted) <= K_VALUES)
    for value in [f"w{i}" for i in range(0, 600, 60)]:
        assert sketch.count_of(value) in (counted[value], None)
        if sketch.is_complete:
            assert sketch.count_of(value) == counted[value]
    if len(counted) < K_HASHES:
        assert sketch.is_exact and sketch.distinct == len(counted)


def test_numbers_are_sketched_alike_however_they_are_split() -> None:
    rng = np.random.default_rng(1)
    for values in (rng.normal(size=50_000), rng.poisson(40, 50_000) / 4, np.arange(300.0)):
        parts = np.array_split(values, 7)
        whole = sketch_numbers(np.sort(values))
        assert add_sketches([sketch_numbers(np.sort(part)) for part in parts]) == whole
        named = name_numbers(np.sort(values))
        assert add_sketches([name_numbers(np.sort(part)) for part in parts]) == named
        assert named.hashes == whole.hashes
        for name, count in zip(named.values, named.counts, strict=True):
            assert count == int((values == float(name)).sum())


@pytest.mark.parametrize("spread", ["whole", "cents", "times", "normal", "texts"])
def test_the_number_of_different_values_is_within_its_error(spread) -> None:
    """Of 40 tables each: unbiased, and two of three within one standard error."""
    rng = np.random.default_rng(5)
    n = 20_000
    errors = []
    for i in range(40):
        start = i * n
        if spread == "texts":
            texts = pl.Series([f"id-{j}" for j in range(start, start + n)])
            sketch = sketch_texts(texts, np.ones(n, np.int64))
        else:
            values = {
                "whole": np.arange(start, start + n, dtype=np.float64),
                "cents": np.arange(start, start + n) / 100,
                "times": 1.7e15 + np.arange(start, start + n) * 60e6,
                "normal": np.sort(rng.normal(size=n)),
            }[spread]
            sketch = sketch_numbers(values)
        assert not sketch.is_exact and sketch.n_hashes == K_HASHES
        errors.append(sketch.distinct / n - 1)
    assert abs(np.mean(errors)) < 3 * DISTINCT_ERROR / np.sqrt(40)
    assert np.mean(np.abs(errors) < DISTINCT_ERROR) > 0.5
    assert max(np.abs(errors)) < 4 * DISTINCT_ERROR


def _mix_by_the_book(state: int) -> int:
    mask = (1 << 64) - 1
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
    state = (state ^ state >> 27) * 0x94D049BB133111EB & mask
    return state ^ state >> 31


def _hash_by_the_book(value: float | str) -> int:
    step, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    if isinstance(value, float):
        bits = int.from_bytes(struct.pack("<d", value), "little")
        return _mix_by_the_book(bits + step & mask) >> 16
    data = value.encode()
    state = _mix_by_the_book(len(data) + step & mask)
    for i in range(0, len(data), 8):
        word = int.from_bytes(data[i : i + 8], "little")
        state = _mix_by_the_book((state ^ word) + step & mask)
    return state >> 16


@given(st.floats(allow_nan=False).filter(bool), st.text(max_size=30))
def test_hashes_are_those_of_the_book(number, text) -> None:
    """Whoever changes them makes every stored profile wrong."""
    assert hash_numbers(np.array([number])).tolist() == [_hash_by_the_book(number)]
    assert hash_texts(pl.Series([text])).tolist() == [_hash_by_the_book(text)]


@given(st.integers(0, 1 << HASH_BITS))
def test_all_hashes_below_a_bound_are_found(bound) -> None:
    values = np.arange(3000.0)
    everything, found = hash_numbers(values), hash_numbers_below(values, bound)
    assert sorted(everything[everything < bound]) == sorted(found[found < bound])
    assert np.isin(found, everything).all()
    assert bound > 1 << HASH_BITS - 4 or len(found) < 600


def test_hashes_of_texts_depend_on_the_text_alone() -> None:
    texts = ["", "a", "a\0", "b", "a" * 8, "a" * 9, "a" * 1024, "a" * 1025, "é", "日本語テキスト"]
    alone = [int(hash_texts(pl.Series([text]))[0]) for text in texts]
    assert hash_texts(pl.Series(texts)).tolist() == alone
    assert hash_texts(pl.Series(["x", *texts])[1:]).tolist() == alone
    assert len(set(alone)) == len(texts) and max(alone) < 1 << HASH_BITS
    many = hash_texts(pl.Series([f"{i}" for i in range(100_000)]))
    assert len(np.unique(many)) == 100_000


def test_long_texts_are_cut_and_still_told_apart() -> None:
    long = ["x" * 2_000_000 + end for end in "ab"]
    sketch = _sketch([long[0], *long])
    assert [count for _, count in sketch.top(3)] == [2, 1]
    assert all(len(value) < 2 * LONG_TEXT for value in sketch.values)
    assert "2,000,001 characters" in sketch.values[0]
    assert sketch.count_of(long[0]) == 2
    assert len(json.dumps(add_sketches([sketch, sketch]).to_json())) < 500
