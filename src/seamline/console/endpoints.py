"""Pages of endpoints: which there are, how one of them does, and a form to try it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from seamline.app.platform import Platform
from seamline.app.serve.ask_endpoint import authorization_for
from seamline.app.serve.show_endpoint import find_endpoint, list_endpoints, show_endpoint
from seamline.app.serve.try_endpoint import make_curl, make_row, try_endpoint
from seamline.console.page import Pages
from seamline.domain.clock import iso
from seamline.domain.errors import SeamlineError, Unavailable
from seamline.protocols.errors import STATUS, error_body
from seamline.protocols.identity import caller_who_may, token_of
from seamline.trust.roles import Verb

#: An input may be called as the form's own fields are.
PREFIX = "input:"
#: What is tried is answered, logged and measured as any caller's request is.
TRIES = Verb.PREDICT


async def _texts(request: Request) -> dict[str, str]:
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str)}


def add_endpoint_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/endpoints")
    def endpoints(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "endpoints.html", read_endpoints(_platform(request)), who)

    @router.get("/environments/{environment}/endpoints/{endpoint}")
    def show(request: Request, environment: str, endpoint: str) -> Response:
        _, who = pages.sessions.reader(request)
        data = read_endpoint(request, environment, endpoint, None)
        return pages.page(request, "endpoint.html", {**data, "tried": None, "refusal": None}, who)


def add_endpoint_actions(router: APIRouter, pages: Pages) -> None:
    """Answers with the same page, and what was answered on it."""

    @router.post("/environments/{environment}/endpoints/{endpoint}")
    def try_it(
        request: Request,
        environment: str,
        endpoint: str,
        given: Annotated[dict[str, str], Depends(_texts)],
    ) -> Response:
        pages.sessions.check_form(request, given.get("form_token", ""))
        _, who = pages.sessions.reader(request)
        texts = {
            name.removeprefix(PREFIX): text
            for name, text in given.items()
            if name.startswith(PREFIX)
        }
        tried, refused = None, None
        try:
            tried = _try(request, environment, endpoint, texts)
        except SeamlineError as error:
            refused = error
        data = read_endpoint(request, environment, endpoint, texts)
        refusal = error_body(refused)["error"] if refused else None
        status = STATUS.get(type(refused), 500) if refused else 200
        data = {**data, "tried": tried, "refusal": refusal}
        return pages.page(request, "endpoint.html", data, who, status)


def read_endpoints(platform: Platform) -> dict[str, Any]:
    return {
        "environments": list_endpoints(platform),
        "data_plane": platform.data_plane_url(),
        "now": iso(platform.stores.clock.now()),
    }


def read_endpoint(
    request: Request, environment: str, endpoint: str, texts: dict[str, str] | None
) -> dict[str, Any]:
    """`texts`: what was typed; None: the package's example."""
    platform = _platform(request)
    told = show_endpoint(platform, environment, endpoint)
    fields = [*told["inputs"], *told["context"]]
    if texts is None:
        texts = {one["name"]: _shown(one["example"]) for one in fields}
    _, spec = find_endpoint(platform, environment, endpoint)
    url = platform.data_plane_url()
    row = make_row((*spec.signature.inputs, *spec.context), texts)
    needs_token = token_of(request) is not None or platform.access.is_required is True
    return {
        "endpoint": told,
        "typed": texts,
        "curl": url and make_curl(url, environment, spec, row, needs_token=needs_token),
        "why_may_not": _why_may_not(request),
        "now": iso(platform.stores.clock.now()),
    }


def _try(
    request: Request, environment: str, endpoint: str, texts: dict[str, str]
) -> dict[str, Any]:
    who = caller_who_may(request, TRIES)
    platform = _platform(request)
    _, spec = find_endpoint(platform, environment, endpoint)
    url = platform.data_plane_url()
    if url is None:
        raise Unavailable("No data plane answers.", next_step="Start it: seamline up.")
    row = make_row((*spec.signature.inputs, *spec.context), texts)
    allowed = authorization_for(platform, who, environment, endpoint)
    return try_endpoint(url, environment, spec, row, who.name, allowed).to_json()


def _why_may_not(request: Request) -> str | None:
    try:
        caller_who_may(request, TRIES)
    except SeamlineError as error:
        return str(error)
    return None


def _shown(example: object) -> str:
    """
    >>> _shown(True), _shown(0.5), _shown(None), _shown("JFK")
    ('true', '0.5', '', 'JFK')
    """
    if example is None:
        return ""
    return str(example).lower() if isinstance(example, bool) else str(example)


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform
