"""Pages of runs, and the two things that one can do there: cancel a run, retry what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from seamline.app.platform import Platform
from seamline.app.train.repeat_run import retry
from seamline.console.page import HEADERS, Pages
from seamline.console.run_list import Filter, read_runs
from seamline.console.run_sources import Look, read_run
from seamline.domain.errors import SeamlineError
from seamline.protocols.errors import STATUS, error_body
from seamline.protocols.identity import caller_who_may
from seamline.train.runs import cancel_run
from seamline.train.views.listing import Storage
from seamline.trust.roles import Principal, Verb

Field = Annotated[str, Form()]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]


def add_run_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/runs")
    def runs(
        request: Request,
        environment: str = "",
        pipeline: str = "",
        state: str = "",
        storage: Storage = Storage.AVAILABLE,
        after: str = "",
    ) -> Response:
        _, who = pages.sessions.reader(request)
        asked = Filter(
            environment or None, pipeline or None, state or None, storage.value, after or None
        )
        return pages.page(request, "runs.html", read_runs(_platform(request), asked), who)

    @router.get("/runs/{run_id}")
    def run(
        request: Request,
        run_id: str,
        within: str = "",
        task: str = "",
        offset: int | None = None,
        state: str = "",
        find: str = "",
        page: PageNumber = 1,
        attempt: int | None = None,
    ) -> Response:
        look = Look(
            within or None, task or None, offset, attempt, state or None, find.strip(), page
        )
        return _show(request, pages, run_id, look)


def add_run_actions(router: APIRouter, pages: Pages) -> None:
    """Redirects to the run when it is done; a refusal shows there as its sentence."""

    @router.post("/runs/{run_id}/cancel")
    def cancel_(request: Request, run_id: str, form_token: Field = "") -> Response:
        def cancel(platform: Platform, who: Principal) -> None:
            cancel_run(platform.stores, run_id, by=who.name)
            platform.engine.wake()

        return _act(request, pages, run_id, form_token, cancel)

    @router.post("/runs/{run_id}/retry")
    def retry_(request: Request, run_id: str, form_token: Field = "") -> Response:
        def again(platform: Platform, who: Principal) -> None:
            retry(platform, run_id, by=who.name)

        return _act(request, pages, run_id, form_token, again)


def _act(
    request: Request,
    pages: Pages,
    run_id: str,
    form_token: str,
    act: Callable[[Platform, Principal], None],
) -> Response:
    pages.sessions.check_form(request, form_token)
    try:
        act(_platform(request), caller_who_may(request, Verb.RUN))
    except SeamlineError as error:
        return _show(request, pages, run_id, Look(), error)
    return RedirectResponse(f"/runs/{quote(run_id)}", 303, HEADERS)


def _show(
    request: Request,
    pages: Pages,
    run_id: str,
    look: Look,
    refused: SeamlineError | None = None,
) -> Response:
    principal, who = pages.sessions.reader(request)
    data = read_run(_platform(request), principal, run_id, look)
    refusal = error_body(refused)["error"] if refused else None
    status = STATUS.get(type(refused), 500) if refused else 200
    return pages.page(request, "run.html", {**data, "refusal": refusal}, who, status)


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform
