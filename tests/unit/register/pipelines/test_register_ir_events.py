"""The quick reader of pipeline files says what the YAML library says, or leaves it to it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput
from seamline.register.pipelines.ir_events import TooDeep, Unusual, read_first
from seamline.register.pipelines.ir_file import MAX_DEPTH, check_size, load_ir

#: What looks like something else without quotes, and what needs them.
WORDS = (
    "yes",
    "on",
    "~",
    "",
    "1_000",
    "0x1f",
    "1e3",
    "1.0",
    ".inf",
    "12:30:45",
    "- a",
    "#",
    "a: b",
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(WORDS)
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=20,
)


def library(data: bytes) -> Any:
    return next(iter(yaml.load_all(data, yaml.CSafeLoader)))


@settings(max_examples=150, deadline=None)
@given(VALUES, st.sampled_from([None, True, False]), st.sampled_from([None, '"', "|"]))
def test_it_says_what_the_library_says(value: Any, flow: bool | None, style: str | None) -> None:
    data = yaml.safe_dump([value], default_flow_style=flow, default_style=style).encode()
    try:
        found = read_first(data, MAX_DEPTH)
    except Unusual:
        assert b"!!" in data or b"&" in data  # a style that names each type, or a shared value
        return
    assert repr(found) == repr(library(data))


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab1:-?[]{},&*!<>|'\"#~ \n", max_size=40))
def test_whatever_else_a_file_holds(text: str) -> None:
    data = text.encode()
    try:
        found = read_first(data, MAX_DEPTH)
    except Unusual:
        return
    except (yaml.YAMLError, ValueError):
        with pytest.raises((yaml.YAMLError, ValueError)):
            list(yaml.load_all(data, yaml.CSafeLoader))
        return
    assert repr(found) == repr(next(iter(yaml.load_all(data, yaml.CSafeLoader)), None))


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {b: 1}\nc: *x",
        "a: {<<: {b: 1}, c: 2}",
        "a: !!str 1",
        "a: 2026-11-21",
        "a: !!set {b}",
    ],
)
def test_what_compilers_do_not_write_is_the_librarys(text: str) -> None:
    with pytest.raises(Unusual):
        read_first(text.encode(), MAX_DEPTH)
    assert load_ir(text.encode()) == library(text.encode())


def test_a_key_that_no_mapping_can_have() -> None:
    with pytest.raises(InvalidInput, match="unhashable"):
        load_ir(b"? [a, b]\n: 1")


def test_a_key_that_comes_twice() -> None:
    data = b"a: 1\nb: 2\na: 3\n"
    assert list(read_first(data, 9).items()) == list(library(data).items()) == [("a", 3), ("b", 2)]


@pytest.mark.parametrize("before", [b"", b"a: &x 1\nb: *x\n"])
def test_every_document_has_to_be_sound(before: bytes) -> None:
    """Both ways: the second file is read by the library."""
    first = before + b"root: {}\n---\n"
    assert load_ir(first + b"platforms: {}")["root"] == {}
    deep = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
    for broken, why in ((b"a: [1", "no YAML"), (deep, "deeper"), (b"a: 'b", "no YAML")):
        with pytest.raises(InvalidInput, match=why):
            load_ir(first + broken)


def test_depth_is_counted_in_levels() -> None:
    assert read_first(b"[[{a: [1]}]]", 4) == [[{"a": [1]}]]
    with pytest.raises(TooDeep):
        read_first(b"[[{a: [1]}]]", 3)


def test_a_small_file_that_names_a_huge_value() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 9):
        names = ", ".join([f"*a{number - 1}"] * 10)
        lines.append(f"a{number}: &a{number} [{names}]")
    document = load_ir("\n".join(lines).encode())
    with pytest.raises(InvalidInput, match="more than"):
        check_size(document)


def test_a_value_that_contains_itself() -> None:
    with pytest.raises(InvalidInput, match="levels"):
        check_size(load_ir(b"a: &x [*x]"))
