"""Patterns of contracts (Rust's regular expressions) for RE2, with the same meaning.

Both take linear time, whatever is sent; Python's own would not. They differ in little: to Rust a
digit, a word and a blank are Unicode's, to RE2 they are ASCII's; Rust knows sets within sets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from seamline.domain.errors import InvalidInput
from seamline.measure.rules.cells import Mask

_BLANK = r"\t-\r \x{85}\p{Z}"
#: Alphabetic, marks, decimal digits, connectors and joiners; letters in circles are alphabetic.
_WORD = (
    r"\p{L}\p{M}\p{Nl}\p{Nd}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}"
    r"\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189}"
)
_UNICODE = {r"\d": r"\p{Nd}", r"\s": _BLANK, r"\w": _WORD}
_ASCII = {r"\d": "0-9", r"\s": r"\t-\r ", r"\w": "0-9A-Za-z_"}
_PIECE = re.compile(r"\\(?:[pPx]\{[^}]*\}|.)|\[:\^?\w+:\]|&&|--|~~|\{,|.", re.DOTALL)


@dataclass(frozen=True)
class LinearPattern:
    """For the whole text. Sets of Unicode take RE2 long to make: `for_ascii` is for texts that
    have nothing else."""

    for_any: str
    for_ascii: str

    def matches(self, texts: Sequence[str]) -> Mask:
        is_ascii = all(map(str.isascii, texts))
        found = pc.match_substring_regex(
            pa.array(texts, pa.string()), self.for_ascii if is_ascii else self.for_any
        )
        matched: Mask = found.to_numpy(zero_copy_only=False)
        return matched


def linear_pattern(pattern: str) -> LinearPattern:
    r"""Raises InvalidInput for what RE2 has not: borders of words, sets within sets.

    >>> linear_pattern(r"[A-Z]{2}\d+").matches(["UA12", "UA", "UA٣", "UA12\n"]).tolist()
    [True, False, True, False]
    """
    found = LinearPattern(_written(pattern, _UNICODE), _written(pattern, _ASCII))
    try:
        found.matches(["", "ä"])
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"The pattern {pattern!r} is none to RE2: {error}.") from error
    return found


def _written(pattern: str, sets: Mapping[str, str]) -> str:
    outside = {name: f"[{inner}]" for name, inner in sets.items()}
    outside |= {name.upper(): f"[^{inner}]" for name, inner in sets.items()}
    written: list[str] = []
    is_set, first_of_set = False, 0
    for at, piece in enumerate(_PIECE.findall(pattern)):
        if not is_set and piece == "[":
            is_set, first_of_set = True, at + 1
        elif is_set and piece == "^" and at == first_of_set:
            first_of_set += 1
        elif is_set and piece == "]" and at > first_of_set:
            is_set = False
        elif _is_strange(piece, is_set=is_set):
            raise InvalidInput(f"The pattern {pattern!r} has {piece!r}, which RE2 does not know.")
        written.append((sets if is_set else outside).get(piece, piece))
    return rf"\A(?:{''.join(written)})\z"


def _is_strange(piece: str, *, is_set: bool) -> bool:
    """What RE2 would take otherwise, or would not take."""
    if is_set:
        return piece in ("[", "&&", "--", "~~", r"\D", r"\S", r"\W")
    return piece in (r"\b", r"\B", r"\<", r"\>", "{,") or piece.startswith(r"\Q")
