"""Kubernetes quantities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.train.ir.quantities import parse_bytes, parse_cores, parse_count


@pytest.mark.parametrize(
    ("text", "cores"),
    [("1", 1.0), ("0.5", 0.5), (".5", 0.5), ("2.", 2.0), ("500m", 0.5), ("1500m", 1.5), ("0", 0.0),
     ("1e-1", 0.1), ("250000u", 0.25), (" 2 ", 2.0)],
)  # fmt: skip
def test_cores(text, cores):
    assert parse_cores(text) == cores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("128", 128),
        ("1k", 1000),
        ("1K", 1000),
        ("1Ki", 1024),
        ("512Mi", 512 << 20),
        ("4G", 4 * 10**9),
        ("4Gi", 4 << 30),
        ("1.5Gi", 3 << 29),
        ("2T", 2 * 10**12),
        ("1Pi", 1 << 50),
        ("1E", 10**18),
        ("1Ei", 1 << 60),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12e+2", 1200),
        ("128974848000m", 128974848),
        ("1m", 1),
        ("0.1", 1),
    ],
)
def test_bytes_are_rounded_up(text, size):
    assert parse_bytes(text) == size


def test_counts_are_whole():
    assert parse_count("2") == 2
    with pytest.raises(InvalidInput, match=r"The count has to be a whole number; '0.5' came"):
        parse_count("0.5")


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1Gib", "1 G", "4gb", "G", ".", "1e", "1e999", "0x10", "1_000", "١",
             "inf", "9" * 1000, "1" * 5000]
)  # fmt: skip
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(InvalidInput, match="Task 'a' has to be an amount of memory") as raised:
        parse_bytes(text, "Task 'a'")
    assert len(raised.value.message) < 300


@given(st.text(max_size=8))
def test_any_text_is_a_quantity_or_invalid_input(text):
    try:
        assert parse_bytes(text) >= 0
        assert parse_cores(text) >= 0
    except InvalidInput:
        pass
