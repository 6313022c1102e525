"""One environment: look at it, promote into it, roll it back, hold it, break its glass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from seamline.app.platform import Platform
from seamline.app.promote.take_part import ask_promotion, ask_rollback
from seamline.console.environments import (
    check_seen,
    read_environment,
    read_plan,
    read_rollback,
)
from seamline.console.page import HEADERS, Pages
from seamline.domain.durations import parse_duration_s
from seamline.domain.errors import Forbidden, SeamlineError
from seamline.promote.glass import break_glass, mend_glass
from seamline.promote.holds import lift_holds, set_hold
from seamline.protocols.errors import STATUS, error_body
from seamline.protocols.identity import caller_who_may
from seamline.trust.refusals import require_whole
from seamline.trust.roles import Principal, Verb

Field = Annotated[str, Form()]
#: What one can do on an environment's own page, and what it takes.
_DEEDS = {
    "hold": Verb.ROLL_BACK,
    "lift": Verb.ROLL_BACK,
    "glass": Verb.BREAK_GLASS,
    "mend": Verb.ROLL_BACK,
}


def add_environment_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/environments/{environment}")
    def show(request: Request, environment: str) -> Response:
        return _show(request, pages, environment)

    @router.get("/environments/{environment}/promote")
    def plan(request: Request, environment: str, release: str = "") -> Response:
        return _show_plan(request, pages, environment, release)

    @router.get("/environments/{environment}/rollback")
    def plan_back(request: Request, environment: str, to: str = "") -> Response:
        return _show_rollback(request, pages, environment, to)


def add_environment_actions(router: APIRouter, pages: Pages) -> None:
    """Each redirects to what it made; a refusal shows on the page as its sentence."""

    @router.post("/environments/{environment}/promote")
    def promote(
        request: Request,
        environment: str,
        form_token: Field = "",
        release: Field = "",
        seen: Field = "",
        reason: Field = "",
        emergency: Field = "",
    ) -> Response:
        pages.sessions.check_form(request, form_token)
        try:
            who = caller_who_may(request, Verb.REQUEST_PROMOTION)
            check_seen(_platform(request), environment, seen)
            made = ask_promotion(
                _platform(request),
                release,
                environment,
                who,
                emergency=bool(emergency),
                reason=reason,
            )
        except SeamlineError as error:
            return _show_plan(request, pages, environment, release, error)
        return _to(f"/promotions/{made.id}")

    @router.post("/environments/{environment}/rollback")
    def roll_back(
        request: Request,
        environment: str,
        form_token: Field = "",
        to: Field = "",
        seen: Field = "",
        reason: Field = "",
    ) -> Response:
        pages.sessions.check_form(request, form_token)
        try:
            who = caller_who_may(request, Verb.ROLL_BACK)
            check_seen(_platform(request), environment, seen)
            made = ask_rollback(_platform(request), environment, reason, who, to=to or None)
        except SeamlineError as error:
            return _show_rollback(request, pages, environment, to, error)
        return _to(f"/promotions/{made.id}")


def add_hold_actions(router: APIRouter, pages: Pages) -> None:
    @router.post("/environments/{environment}/hold")
    def hold(
        request: Request, environment: str, form_token: Field = "", reason: Field = ""
    ) -> Response:
        def act(platform: Platform, who: Principal) -> None:
            set_hold(platform.stores, environment, reason, by=who.name)

        return _act(request, pages, environment, "hold", form_token, act)

    @router.post("/environments/{environment}/lift")
    def lift(
        request: Request, environment: str, form_token: Field = "", reason: Field = ""
    ) -> Response:
        def act(platform: Platform, who: Principal) -> None:
            lift_holds(platform.stores, environment, reason, by=who.name)

        return _act(request, pages, environment, "lift", form_token, act)

    @router.post("/environments/{environment}/glass")
    def glass(
        request: Request,
        environment: str,
        form_token: Field = "",
        reason: Field = "",
        lasts: Field = "1h",
    ) -> Response:
        def act(platform: Platform, who: Principal) -> None:
            break_glass(platform.stores, environment, who, reason, parse_duration_s(lasts))

        return _act(request, pages, environment, "glass", form_token, act)

    @router.post("/environments/{environment}/mend")
    def mend(request: Request, environment: str, form_token: Field = "") -> Response:
        def act(platform: Platform, who: Principal) -> None:
            mend_glass(platform.stores, environment, by=who.name)

        return _act(request, pages, environment, "mend", form_token, act)


def _act(
    request: Request,
    pages: Pages,
    environment: str,
    deed: str,
    form_token: str,
    act: Callable[[Platform, Principal], None],
) -> Response:
    pages.sessions.check_form(request, form_token)
    try:
        who = caller_who_may(request, _DEEDS[deed])
        if _DEEDS[deed] is Verb.ROLL_BACK:
            require_whole(who, Verb.ROLL_BACK, environment)
        act(_platform(request), who)
    except SeamlineError as error:
        return _show(request, pages, environment, error)
    return _to(f"/environments/{quote(environment)}")


def _show(
    request: Request, pages: Pages, environment: str, refused: SeamlineError | None = None
) -> Response:
    _, who = pages.sessions.reader(request)
    data = read_environment(_platform(request), environment)
    may = {deed: why_may_not(request, verb) for deed, verb in _DEEDS.items()}
    return _page(request, pages, "environment.html", {**data, "why_may_not": may}, who, refused)


def _show_plan(
    request: Request,
    pages: Pages,
    environment: str,
    release: str,
    refused: SeamlineError | None = None,
) -> Response:
    principal, who = pages.sessions.reader(request)
    data = read_plan(_platform(request), release, environment, principal.name)
    may = why_may_not(request, Verb.REQUEST_PROMOTION)
    return _page(request, pages, "promote.html", {**data, "why_may_not": may}, who, refused)


def _show_rollback(
    request: Request,
    pages: Pages,
    environment: str,
    to: str,
    refused: SeamlineError | None = None,
) -> Response:
    _, who = pages.sessions.reader(request)
    data = read_rollback(_platform(request), environment, to or None)
    may = why_may_not(request, Verb.ROLL_BACK)
    return _page(request, pages, "rollback.html", {**data, "why_may_not": may}, who, refused)


def _page(
    request: Request,
    pages: Pages,
    template: str,
    data: dict[str, Any],
    who: Any,
    refused: SeamlineError | None,
) -> Response:
    refusal = error_body(refused)["error"] if refused else None
    status = STATUS.get(type(refused), 500) if refused else 200
    return pages.page(request, template, {**data, "refusal": refusal}, who, status)


def why_may_not(request: Request, verb: Verb) -> str | None:
    """What keeps whoever asks from doing that in the environment of this page; None: nothing."""
    try:
        caller_who_may(request, verb)
    except Forbidden as error:
        return str(error)
    return None


def _to(path: str) -> Response:
    return RedirectResponse(path, 303, HEADERS)


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform
