from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from seamline.trust.redaction import MASK, MIN_CHARS, make_redactor, redact


def test_the_longest_is_masked_first() -> None:
    assert redact("token token-of-ada", ["token", "token-of-ada"]) == f"{MASK} {MASK}"


def test_signs_of_patterns_are_plain_text() -> None:
    assert redact("a.*b[c]|d a.xb", ["a.*b[c]|d"]) == f"{MASK} a.xb"


def test_each_line_of_a_key_file() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQ\nAoIBAQ\n-----END KEY-----\n"
    assert redact("got MIIEvQ then AoIBAQ", [key]) == f"got {MASK} then {MASK}"
    assert redact(key, [key]) == f"{MASK}\n"


def test_short_and_empty_values_hide_nothing() -> None:
    assert redact("1 of 10", ["1", "", "  \n ", "abc"]) == "1 of 10"
    assert redact("text", []) == "text"


@given(
    st.lists(st.text(min_size=MIN_CHARS, alphabet="ab\n. "), max_size=4),
    st.text(alphabet="ab\n. "),
    st.text(alphabet="ab\n. "),
)
def test_no_value_is_left(values: list[str], before: str, after: str) -> None:
    hide = make_redactor(values)
    long = [value.strip() for value in values if len(value.strip()) >= MIN_CHARS]
    for value in long:
        assert value not in hide(before + value + after)
