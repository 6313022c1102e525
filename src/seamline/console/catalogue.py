"""Pages of pipelines, packages, schedules and experiments; Kubeflow's links lead here, too."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from seamline.app.platform import Platform
from seamline.app.train.show_schedule import show_schedule
from seamline.console.page import HEADERS, Pages
from seamline.console.registries import (
    read_package,
    read_packages,
    read_pipeline,
    read_pipelines,
)
from seamline.console.run_list import show_record
from seamline.domain.clock import iso
from seamline.domain.errors import SeamlineError
from seamline.protocols.errors import STATUS, error_body
from seamline.protocols.identity import caller_who_may
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.train.experiments import find_experiment
from seamline.train.schedule.schedules import find_schedule, list_schedules, set_paused
from seamline.train.views.listing import (
    Condition,
    Drawer,
    Order,
    page_runs,
)
from seamline.train.views.lists import newest_by_schedule
from seamline.trust.roles import Verb

Field = Annotated[str, Form()]
LISTED_RUNS = 100
RECENT_RUNS = 10
#: Of each schedule in the list of them.
LAST_RUNS = 8


def add_schedule_actions(router: APIRouter, pages: Pages) -> None:
    """Redirects to the schedule when it is done; a refusal shows there as its sentence."""

    @router.post("/schedules/{schedule}/pause")
    def pause(request: Request, schedule: str, form_token: Field = "") -> Response:
        return _set_paused(request, pages, schedule, form_token, True)

    @router.post("/schedules/{schedule}/resume")
    def resume(request: Request, schedule: str, form_token: Field = "") -> Response:
        return _set_paused(request, pages, schedule, form_token, False)


def _set_paused(
    request: Request, pages: Pages, schedule: str, form_token: str, is_paused: bool
) -> Response:
    pages.sessions.check_form(request, form_token)
    try:
        who = caller_who_may(request, Verb.RUN)
        set_paused(_platform(request).stores, schedule, is_paused, by=who.name)
    except SeamlineError as error:
        return _show_schedule(request, pages, schedule, error)
    scheduler = _platform(request).scheduler
    if is_paused:
        scheduler.settle()
    else:
        scheduler.wake()
    return RedirectResponse(f"/schedules/{quote(schedule)}", 303, HEADERS)


def _show_schedule(
    request: Request, pages: Pages, schedule: str, refused: SeamlineError | None = None
) -> Response:
    principal, who = pages.sessions.reader(request)
    data = {
        **read_schedule(_platform(request), schedule),
        "refusal": error_body(refused)["error"] if refused else None,
        "may_change": principal.may(Verb.RUN),
    }
    status = STATUS.get(type(refused), 500) if refused else 200
    return pages.page(request, "schedule.html", data, who, status)


def add_catalogue_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/pipelines")
    def pipelines(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "pipelines.html", read_pipelines(_platform(request)), who)

    @router.get("/pipelines/{name}")
    def pipeline(
        request: Request,
        name: str,
        repository: str = DEFAULT_REPOSITORY,
        version: str | None = None,
    ) -> Response:
        """By its name, or by the id that it has in Kubeflow's API."""
        _, who = pages.sessions.reader(request)
        data = read_pipeline(_platform(request), name, repository, version)
        return pages.page(request, "pipeline.html", data, who)

    @router.get("/packages")
    def packages(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "packages.html", read_packages(_platform(request)), who)

    @router.get("/packages/{name}")
    def package(request: Request, name: str) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "package.html", read_package(_platform(request), name), who)

    @router.get("/schedules")
    def schedules(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "schedules.html", read_schedules(_platform(request)), who)

    @router.get("/schedules/{schedule}")
    def schedule(request: Request, schedule: str) -> Response:
        return _show_schedule(request, pages, schedule)

    @router.get("/experiments/{experiment_id}")
    def experiment(request: Request, experiment_id: str) -> Response:
        _, who = pages.sessions.reader(request)
        data = read_experiment(_platform(request), experiment_id)
        return pages.page(request, "experiment.html", data, who)


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


def read_schedules(platform: Platform) -> dict[str, Any]:
    known = list_schedules(platform.stores)
    recent = newest_by_schedule(platform.stores, [one.id for one in known], LAST_RUNS)
    return {
        "schedules": [{**one.to_json(), "recent": recent[one.id]} for one in known],
        "now": iso(platform.stores.clock.now()),
    }


def read_schedule(platform: Platform, reference: str) -> dict[str, Any]:
    found = find_schedule(platform.stores, reference)
    return {
        "schedule": show_schedule(platform, found),
        "now": iso(platform.stores.clock.now()),
    }


def read_experiment(platform: Platform, experiment_id: str) -> dict[str, Any]:
    found = find_experiment(platform.stores, experiment_id)
    return {
        "experiment": {
            "id": found.id,
            "name": found.name,
            "description": found.description,
            "environment": found.environment,
            "storage": found.storage,
            "created_by": found.created_by,
            "created_at": found.created_at,
        },
        "runs": _newest(platform, drawer=found.drawer, limit=LISTED_RUNS),
        "limit": LISTED_RUNS,
        "now": iso(platform.stores.clock.now()),
    }


def _newest(
    platform: Platform,
    *conditions: Condition,
    drawer: Drawer | None = None,
    limit: int = RECENT_RUNS,
) -> list[dict[str, Any]]:
    found = page_runs(
        platform.stores,
        conditions=conditions,
        drawer=drawer,
        order=Order("created_at", is_descending=True),
        limit=limit,
    )
    return [show_record(run) for run in found.runs]
