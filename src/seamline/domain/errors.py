"""The error tree, by meaning.

    SeamlineError
    ├── InvalidInput        what was sent cannot be understood or accepted
    ├── NotFound            no such thing (names the nearest one)
    ├── Conflict            it is already there, differently; or somebody else holds it
    ├── Refused             understood, but a law, a policy or a contract says no
    ├── Unauthenticated     we do not know who is asking
    ├── Forbidden           we know who is asking, and their roles do not allow it
    ├── DigestMismatch      bytes differ from what was recorded or approved
    ├── Unavailable         cannot be done right now; trying again may help
    └── MachineryError      our side broke

Each message says what happened, with ids and values; `next_step` says what to do.
Protocol adapters map the class to a status code; only the CLI exits.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SeamlineError(Exception):
    """Root of every error that Seamline raises on purpose."""

    code = "error"

    def __init__(self, message: str, *, next_step: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".rstrip()


class InvalidInput(SeamlineError):
    code = "invalid_input"


class NotFound(SeamlineError):
    code = "not_found"


class Conflict(SeamlineError):
    code = "conflict"


class Refused(SeamlineError):
    code = "refused"


class Unauthenticated(SeamlineError):
    code = "unauthenticated"


class Forbidden(SeamlineError):
    code = "forbidden"


class DigestMismatch(SeamlineError):
    """Bytes are not the ones that were recorded: refuse to use them (law 2)."""

    code = "digest_mismatch"

    def __init__(self, what: str, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{what}: expected {expected}, found {actual}.",
            next_step="The stored bytes were altered; restore them from a backup, "
            "or publish again under a new version.",
            what=what,
            expected=expected,
            actual=actual,
        )


class Unavailable(SeamlineError):
    code = "unavailable"


class MachineryError(SeamlineError):
    code = "errored"


def class_of_code(code: object) -> type[SeamlineError] | None:
    """What another server's error means here, from its `code`; None for one that is unknown.

    >>> class_of_code("refused")
    <class 'seamline.domain.errors.Refused'>
    """
    kinds = (
        *(InvalidInput, NotFound, Conflict, Refused, Unauthenticated, Forbidden),
        *(Unavailable, MachineryError),
    )
    return next((kind for kind in kinds if kind.code == code), None)


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence naming the known name nearest to a mistyped one, or the known names.

    >>> nearest("flihgts", ["flights", "weather"])
    'Did you mean flights?'
    >>> nearest("id", ["ID", "a"])
    'Did you mean ID?'
    >>> nearest("x", ["flights", "weather"])
    'Known: flights, weather.'
    >>> nearest("x", [])
    'There is none yet.'
    """
    names = sorted(set(known))
    if not names:
        return "There is none yet."
    lower = {one.lower(): one for one in names}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {lower[close[0]]}?"
    shown = ", ".join(names[:8])
    return f"Known: {shown}{', …' if len(names) > 8 else '.'}"


def not_found(kind: str, name: str, known: Iterable[str] = ()) -> NotFound:
    """A NotFound that names what was looked for and the nearest known name."""
    return NotFound(
        f"There is no {kind} {name!r}.", next_step=nearest(name, known), kind=kind, name=name
    )
