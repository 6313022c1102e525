"""`[hooks.NAME]`: who is told of what."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.fact import FactClass
from seamline.domain.facts import FACT_TYPES

ALL = "*"
_SCHEMES = ("https", "http")


@dataclass(frozen=True)
class HookDeclaration:
    """Somebody else's server that is told of governance facts, as the Standard Webhooks have it:
    one POST of JSON per fact, signed, in the ledger's order, again until it is answered with 2xx.
    """

    name: str
    #: Where the POST goes; a redirection is not followed.
    url: str
    #: Kinds of facts: "promotion.moved", "approval.*" for all of a group, "*" for everything.
    events: tuple[str, ...]
    #: ENVIRONMENT/NAME of the secret whose key `signing` ("whsec_" and base64 of 24 to 64 bytes)
    #: signs; a key `previous` signs, too.
    secret: str
    #: After that long without an answer: tried again later.
    timeout: str = "10s"


def check_url(url: str) -> None:
    """
    >>> check_url("https://ci.example.com/seamline")
    >>> check_url("https://ann:secret@ci.example.com")
    Traceback (most recent call last):
      ...
    seamline.domain.errors.InvalidInput: The address holds a name or a password. Whoever reads \
the file would know it; the receiver verifies the signature instead.
    """
    try:
        parts = urlsplit(url)
        is_sound = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_sound = False
    if not is_sound or any(not "!" <= letter <= "~" for letter in url):
        raise InvalidInput(
            f"{url[:200]!r} is no address to send to.", next_step="Write https://HOST/PATH."
        )
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "The address holds a name or a password.",
            next_step="Whoever reads the file would know it; the receiver verifies the signature "
            "instead.",
        )


def check_event(event: str) -> None:
    """
    >>> check_event("promotion.*")
    >>> check_event("promotion.movde")
    Traceback (most recent call last):
      ...
    seamline.domain.errors.InvalidInput: There is no governance fact 'promotion.movde'. \
Did you mean promotion.moved?
    """
    kinds = [one.kind for one in FACT_TYPES.values() if one.fact_class is FactClass.GOVERNANCE]
    groups = {f"{kind.partition('.')[0]}.*" for kind in kinds}
    known = {*kinds, *groups, ALL}
    if event not in known:
        raise InvalidInput(
            f"There is no governance fact {event!r}.", next_step=nearest(event, known)
        )


def is_wanted(kind: str, events: tuple[str, ...]) -> bool:
    """
    >>> is_wanted("promotion.moved", ("promotion.*",)), is_wanted("team.added", ("promotion.*",))
    (True, False)
    """
    return not {ALL, kind, f"{kind.partition('.')[0]}.*"}.isdisjoint(events)


def split_secret(secret: str) -> tuple[str, str]:
    """(environment, name of the secret there)

    >>> split_secret("production/ci-hook")
    ('production', 'ci-hook')
    """
    environment, separator, name = secret.partition("/")
    if not environment or not separator or not name:
        raise InvalidInput(
            f"{secret[:80]!r} names no secret of an environment.",
            next_step="Write ENVIRONMENT/NAME, as in production/ci-hook.",
        )
    return environment, name
