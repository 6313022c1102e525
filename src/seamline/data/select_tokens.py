"""What a person's SELECT is made of, told apart before anything of it is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from seamline.domain.errors import InvalidInput

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<text>'[^'\\]*'(?!'))                  # neither escapes nor doubled quotes
      | (?P<name>"[^"\\]+"(?!")|[^\W\d]\w*)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<mark><>|!=|<=|>=|\|\||-(?!-)|/(?!\*)|[+*%=<>(),.@])  # no comments""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    depth: int
    #: Its place in the text.
    start: int = 0
    end: int = 0

    @property
    def word(self) -> str:
        """A name without quotes, in capitals; empty for all else."""
        return self.text.upper() if self.kind == "name" and self.text[0] != '"' else ""

    @property
    def name(self) -> str:
        return self.text.strip('"') if self.kind == "name" else ""


END = Token("mark", "", 0)


def tokens_of(text: str) -> Iterator[Token]:
    """Raises InvalidInput at what no query needs: comments, escapes, other marks."""
    at = depth = 0
    previous = ""
    while at < len(text):
        match = _TOKEN.match(text, at)
        # `E'…'` and its like have escapes, too.
        if match is None or (match.lastgroup == "text" and previous == "name"):
            raise InvalidInput(
                f"The query cannot have {text[at : at + 10]!r} (at character {at + 1}).",
                next_step="Write one SELECT without comments, escapes and other marks.",
            )
        previous = match.lastgroup or ""
        depth -= match[0] == ")"
        if previous != "space":
            yield Token(previous, match[0], depth, at, match.end())
        depth += match[0] == "("
        at = match.end()
