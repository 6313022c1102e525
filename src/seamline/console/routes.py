"""The console's addresses: pages to look at, decisions, and who one is."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from seamline.app.platform import Platform
from seamline.app.promote.take_part import approve_promotion, reject_promotion
from seamline.console import sources
from seamline.console.audit import add_audit_views
from seamline.console.catalogue import add_catalogue_views, add_schedule_actions
from seamline.console.comparisons import add_comparison_views
from seamline.console.datasets import add_dataset_views
from seamline.console.endpoints import add_endpoint_actions, add_endpoint_views
from seamline.console.environment_routes import (
    add_environment_actions,
    add_environment_views,
    add_hold_actions,
)
from seamline.console.page import ASSETS, HEADERS, Pages, page_route
from seamline.console.releases import add_release_views
from seamline.console.run_routes import add_run_actions, add_run_views
from seamline.console.session import Sessions, local_path, sign_in, sign_out
from seamline.domain.errors import SeamlineError, Unauthenticated, not_found
from seamline.protocols.errors import STATUS, error_body
from seamline.protocols.identity import SESSION_COOKIE, caller_who_may
from seamline.trust.roles import Principal, Verb
from seamline.trust.tokens import principal_of_token

Field = Annotated[str, Form()]


def make_router() -> APIRouter:
    """Forms of visitors without a token hold until the server restarts."""
    sessions = Sessions(secrets.token_hex(32))
    pages = Pages(sessions)
    router = APIRouter(route_class=page_route(pages), include_in_schema=False)
    _add_views(router, pages)
    add_run_views(router, pages)
    add_catalogue_views(router, pages)
    add_dataset_views(router, pages)
    add_release_views(router, pages)
    add_comparison_views(router, pages)
    add_environment_views(router, pages)
    add_endpoint_views(router, pages)
    add_audit_views(router, pages)
    add_environment_actions(router, pages)
    add_hold_actions(router, pages)
    add_endpoint_actions(router, pages)
    add_run_actions(router, pages)
    add_schedule_actions(router, pages)
    _add_decisions(router, pages)
    _add_sessions(router, pages)

    @router.get("/console/{name}")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise not_found("asset", name, ASSETS)
        return pages.asset(name)

    return router


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


def _add_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/")
    def board(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "board.html", sources.read_board(_platform(request)), who)

    @router.get("/approvals")
    def approvals(request: Request, decided: str | None = None) -> Response:
        principal, who = pages.sessions.reader(request)
        data = sources.read_inbox(_platform(request), principal, decided)
        return pages.page(request, "approvals.html", {**data, "refusal": None}, who)

    @router.get("/models")
    def models(request: Request, of: str | None = None) -> Response:
        """`of`: the models of one family."""
        _, who = pages.sessions.reader(request)
        return pages.page(request, "models.html", sources.read_models(_platform(request), of), who)

    @router.get("/models/{name}")
    def model(request: Request, name: str, version: str | None = None) -> Response:
        _, who = pages.sessions.reader(request)
        data = sources.read_model(_platform(request), name, version)
        return pages.page(request, "model.html", data, who)


def _add_decisions(router: APIRouter, pages: Pages) -> None:
    """Redirects to the inbox when it is done; a refusal shows there as its sentence."""

    @router.post("/approvals/{promotion_id}/approve")
    def approve_(
        request: Request, promotion_id: str, form_token: Field = "", comment: Field = ""
    ) -> Response:
        def decide(principal: Principal) -> None:
            approve_promotion(_platform(request), promotion_id, principal, comment=comment.strip())

        return _decide(request, pages, promotion_id, form_token, decide)

    @router.post("/approvals/{promotion_id}/reject")
    def reject_(
        request: Request, promotion_id: str, form_token: Field = "", reason: Field = ""
    ) -> Response:
        def decide(principal: Principal) -> None:
            reject_promotion(_platform(request), promotion_id, principal, reason)

        return _decide(request, pages, promotion_id, form_token, decide)


def _decide(
    request: Request,
    pages: Pages,
    promotion_id: str,
    form_token: str,
    decide: Callable[[Principal], None],
) -> Response:
    pages.sessions.check_form(request, form_token)
    principal, who = pages.sessions.reader(request)
    try:
        decide(caller_who_may(request, Verb.APPROVE))
    except SeamlineError as error:
        data = sources.read_inbox(_platform(request), principal, None)
        refusal = {"promotion_id": promotion_id, **error_body(error)["error"]}
        status = STATUS.get(type(error), 500)
        return pages.page(request, "approvals.html", {**data, "refusal": refusal}, who, status)
    return RedirectResponse(f"/approvals?decided={quote(promotion_id)}", 303, HEADERS)


def _why_signed_out(request: Request, pages: Pages) -> dict[str, str] | None:
    """What is wrong with the token that the browser holds, if it holds one."""
    try:
        pages.sessions.known(request)
    except Unauthenticated as error:
        said: dict[str, str] = error_body(error)["error"]
        return said if SESSION_COOKIE in request.cookies else None
    return None


def _add_sessions(router: APIRouter, pages: Pages) -> None:
    @router.get("/sign-in")
    def show_sign_in(request: Request, next: str = "/") -> Response:
        data = {"next": local_path(next), "refusal": _why_signed_out(request, pages)}
        return pages.page(request, "sign_in.html", data, pages.sessions.visitor(request))

    @router.post("/sign-in")
    def sign_in_(
        request: Request, form_token: Field = "", token: Field = "", next: Field = "/"
    ) -> Response:
        pages.sessions.check_form(request, form_token)
        stores = _platform(request).stores
        try:
            with stores.db.read() as connection:
                principal_of_token(connection, stores.clock, token.strip())
        except Unauthenticated as error:
            data = {"next": local_path(next), "refusal": error_body(error)["error"]}
            who = pages.sessions.visitor(request)
            return pages.page(request, "sign_in.html", data, who, STATUS[Unauthenticated])
        response = RedirectResponse(local_path(next), 303, HEADERS)
        sign_in(response, request, token.strip())
        return response

    @router.post("/sign-out")
    def sign_out_(request: Request, form_token: Field = "") -> Response:
        pages.sessions.check_form(request, form_token)
        response = RedirectResponse("/sign-in", 303, HEADERS)
        sign_out(response)
        return response
