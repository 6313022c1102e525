"""Patterns at endpoints match what they match at a commit: RE2 against Rust's."""

from __future__ import annotations

import sys

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.measure.rules.patterns import linear_pattern

CODES = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def rust(pattern: str, texts: list[str]) -> list[bool]:
    """As a commit does (`measure.contracts.checking`)."""
    return pl.Series(texts, dtype=pl.String).str.contains(rf"\A(?:{pattern})\z").to_list()


@pytest.mark.parametrize("pattern", [r"\d", r"\w", r"\s", r"[\s-]", r"[^\w]", r"\W", r"\D", r"\S"])
def test_sets_hold_the_same_characters(pattern: str) -> None:
    found, expected = linear_pattern(pattern).matches(CODES).tolist(), rust(pattern, CODES)
    odd = [hex(ord(one)) for one, x, y in zip(CODES, found, expected, strict=True) if x != y]
    # The two are of different versions of Unicode: letters of the last years may be one's alone.
    assert all(int(code, 16) > 0x500 for code in odd) and len(odd) < 10_000, odd[:20]
    texts = [one for one in CODES if one.isascii()]
    assert linear_pattern(pattern).matches(texts).tolist() == rust(pattern, texts)


pieces = st.sampled_from(
    [
        *("a", "B", "ä", ".", r"\d", r"\w", r"\s", r"\S", r"\W", r"\.", r"\-", r"\n", "^", "$"),
        *("[a-c]", r"[^\d]", r"[\w.-]", "[]a]", "[^]a]", "[[:alpha:]_]", r"[\]x]", r"\x41"),
        *(r"\p{Lu}", r"\pN", "(?i)b", "(?i:Ä)", "a|", "|", " ", r"\x{e4}"),
    ]
)
counts = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,2}", "*?"])
patterns = st.recursive(
    st.lists(st.tuples(pieces, counts).map("".join), max_size=4).map("".join),
    lambda part: st.tuples(part, counts).map(lambda one: f"(?:{one[0]}){one[1]}"),
    max_leaves=3,
)
letters = st.sampled_from([*"abBcÄäx_1٣]-. \n\v\t", "\x85", "\u200d", "ſ"])


@settings(deadline=None, max_examples=200)
@given(patterns, st.lists(st.lists(letters, max_size=4).map("".join), min_size=1, max_size=8))
def test_both_match_alike(pattern: str, texts: list[str]) -> None:
    try:
        expected = rust(pattern, texts)
    except pl.exceptions.ComputeError:
        return  # no contract can have it
    assert linear_pattern(pattern).matches(texts).tolist() == expected


@pytest.mark.parametrize(
    "pattern", [r"\bword\b", "[a-z&&[^b]]", "[a[bc]]", r"[\W]", "(?x) a b", "a{2000}"]
)
def test_what_re2_would_read_otherwise_is_told(pattern: str) -> None:
    rust(pattern, ["a"])  # a contract may have it
    with pytest.raises(InvalidInput, match="RE2"):
        linear_pattern(pattern)
