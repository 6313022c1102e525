"""Who looks at a page, and whether a form was filled in on a page of ours.

The cookie holds the token that `protocols.identity` reads; it is HttpOnly and SameSite=Strict.
A request that a foreign page causes arrives without it, and on loopback that is the owner: so
a form also carries a token bound to whoever the page was rendered for. A page rendered for one
person cannot be submitted as another, and a page of another origin cannot read it at all.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request, Response

from seamline.domain.errors import Forbidden
from seamline.protocols.environment_scope import check_environments
from seamline.protocols.identity import SESSION_COOKIE, caller, token_of
from seamline.trust.refusals import require
from seamline.trust.roles import Principal, Verb


@dataclass(frozen=True)
class Who:
    """`name` is empty for a visitor whom we do not know."""

    name: str
    roles: tuple[str, ...]
    is_signed_in: bool
    form_token: str


class Sessions:
    """`secret`: stands for the loopback owner and for visitors, who have no token."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def known(self, request: Request) -> tuple[Principal, Who]:
        """Raises Unauthenticated."""
        principal = caller(request)
        roles = tuple(sorted(map(str, principal.held)))
        signed_in = token_of(request) is not None
        return principal, Who(principal.name, roles, signed_in, self.form_token(request))

    def reader(self, request: Request) -> tuple[Principal, Who]:
        """Raises Unauthenticated, or Forbidden for a principal whose roles read nothing."""
        principal, who = self.known(request)
        require(principal, Verb.READ)
        check_environments(request, principal, Verb.READ)
        return principal, who

    def visitor(self, request: Request) -> Who:
        return Who("", (), False, self.form_token(request))

    def form_token(self, request: Request) -> str:
        key = token_of(request) or self._secret
        return hmac.new(key.encode(), b"seamline form", sha256).hexdigest()

    def check_form(self, request: Request, given: str) -> None:
        """Raises Forbidden."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site != "same-origin":
            raise Forbidden(f"The browser marked this form as {site}: refused.")
        if not hmac.compare_digest(given.encode(), self.form_token(request).encode()):
            raise Forbidden(
                "This form was not made for you as you are signed in now.",
                next_step="Go back, reload the page and send the form again.",
            )


def sign_in(response: Response, request: Request, token: str) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        token,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def sign_out(response: Response) -> None:
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")


def local_path(text: str) -> str:
    """Where to go after signing in: a path of this server, or the board.

    >>> local_path("/runs/7?task=a"), local_path("//evil.example/"), local_path("/\\\\evil")
    ('/runs/7?task=a', '/', '/')
    """
    plain = text.startswith("/") and text[1:2] not in {"/", "\\"} and text.isprintable()
    return text if plain else "/"
