"""Runs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from seamline.app.platform import Platform
from seamline.app.train.repeat_run import retry as retry_failed
from seamline.app.train.run_ends import RunEnds
from seamline.app.train.submit_run import submit_ir
from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.domain.states import is_terminal
from seamline.protocols.kfp_api.experiments import environment_of
from seamline.protocols.kfp_api.holding import Attention, Visitor
from seamline.protocols.kfp_api.lists import Listing
from seamline.protocols.kfp_api.run_details import show_run, show_whole_run, stored_states
from seamline.protocols.kfp_api.shapes import MAX_BODY_BYTES, NewRun
from seamline.protocols.kfp_api.status import UNKNOWN, api_route, status_of
from seamline.protocols.kfp_api.submission import read_ir, read_source
from seamline.protocols.native.access import PlatformOf, Reader, Runner
from seamline.train.experiments import find_experiment
from seamline.train.filing import file_run
from seamline.train.options import RunLabel
from seamline.train.runs import cancel_run
from seamline.train.views.listing import Comparison, Condition, Storage, find_run, page_runs
from seamline.trust.roles import Verb

KEYS = {
    "run_id": "id",
    "id": "id",
    "display_name": "display_name",
    "name": "display_name",
    "created_at": "created_at",
    "scheduled_at": "scheduled_for",
    "finished_at": "ended_at",
    "state": "state",
    "storage_state": "storage",
    "experiment_id": "experiment_id",
    "recurring_run_id": "schedule_id",
    "namespace": "environment",
}
#: A sign of life for whatever stands between: white space before JSON means nothing.
HEARTBEAT_S = 15.0


def make_router() -> APIRouter:
    router = APIRouter(route_class=api_route(MAX_BODY_BYTES, Verb.RUN))
    _add_creation(router)
    _add_list(router)
    _add_one(router)
    _add_changes(router)
    return router


def _add_creation(router: APIRouter) -> None:
    @router.post("/runs")
    def create(
        request: Request,
        platform: PlatformOf,
        who: Runner,
        body: NewRun,
        experiment_id: str | None = None,
    ) -> Response:
        wanted = read_source(platform, body, experiment_id, by=who.name)
        ir, reference = read_ir(platform, wanted)
        run_id = submit_ir(
            platform,
            ir,
            arguments=body.parameters(),
            environment=wanted.environment,
            by=who.name,
            label=RunLabel(
                display_name=body.display_name,
                experiment_id=wanted.experiment.id,
                reference=reference,
            ),
        )
        attention: Attention = request.app.state.attention
        attention.note_created(visitor_of(request, who.name), run_id, time.monotonic())
        return JSONResponse(show_run(find_run(platform.stores, run_id)))


def _add_list(router: APIRouter) -> None:
    @router.get("/runs")
    def list_(
        platform: PlatformOf,
        who: Reader,
        request: Listing,
        namespace: str = "",
        experiment_id: str | None = None,
    ) -> dict[str, Any]:
        stores = platform.stores
        drawer = find_experiment(stores, experiment_id).drawer if experiment_id else None
        found = page_runs(
            stores,
            environment=None if drawer else environment_of(platform, namespace),
            drawer=drawer,
            conditions=[_in_our_words(one) for one in request.conditions(KEYS)],
            order=request.order(KEYS),
            after=request.cursor(),
            limit=request.limit,
        )
        return {
            "runs": [show_run(one) for one in found.runs],
            "total_size": found.total,
            "next_page_token": request.token(found.next),
        }


def _add_one(router: APIRouter) -> None:
    @router.get("/runs/{run_id}")
    async def get(request: Request, platform: PlatformOf, who: Reader, run_id: str) -> Response:
        """Held until the run ends, for a client that comes back for it (see `holding`)."""
        run = await run_in_threadpool(find_run, platform.stores, run_id)
        attention: Attention = request.app.state.attention
        visitor, now = visitor_of(request, who.name), time.monotonic()
        hold_s = 0.0 if is_terminal(run.state) else attention.hold_s(visitor, run_id, now)
        if hold_s > 0:
            chunks = _once_ended(request, platform, visitor, run_id, hold_s)
            return StreamingResponse(chunks, media_type="application/json")
        attention.note_answered(visitor, run_id, now)
        return JSONResponse(await run_in_threadpool(show_whole_run, platform.stores, run))


def _add_changes(router: APIRouter) -> None:
    @router.post("/runs/{run_id}:terminate")
    def terminate(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
        find_run(platform.stores, run_id)
        cancel_run(platform.stores, run_id, by=who.name)
        platform.engine.wake()
        return {}

    @router.post("/runs/{run_id}:retry")
    def retry(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
        find_run(platform.stores, run_id)
        retry_failed(platform, run_id, by=who.name)
        return {}

    @router.post("/runs/{run_id}:archive")
    def archive(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
        file_run(platform.stores, run_id, Storage.ARCHIVED, by=who.name)
        return {}

    @router.post("/runs/{run_id}:unarchive")
    def unarchive(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
        file_run(platform.stores, run_id, Storage.AVAILABLE, by=who.name)
        return {}

    @router.delete("/runs/{run_id}")
    def delete(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
        """Hidden; one that has not ended is canceled first."""
        run = find_run(platform.stores, run_id)
        if not is_terminal(run.state):
            cancel_run(platform.stores, run_id, by=who.name)
            platform.engine.wake()
        file_run(platform.stores, run_id, Storage.DELETED, by=who.name)
        return {}


async def _once_ended(
    request: Request, platform: Platform, visitor: Visitor, run_id: str, hold_s: float
) -> AsyncIterator[bytes]:
    """The answer, as soon as the run has ended or the time is over; cut off with the client."""
    ends: RunEnds = request.app.state.run_ends
    attention: Attention = request.app.state.attention
    until = time.monotonic() + hold_s
    while (left_s := until - time.monotonic()) > 0:
        if await ends.wait(run_id, min(left_s, HEARTBEAT_S)):
            break
        yield b" "
    shown = await run_in_threadpool(_show_held, platform, run_id)
    attention.note_answered(visitor, run_id, time.monotonic())
    yield json.dumps(shown).encode()


def _show_held(platform: Platform, run_id: str) -> dict[str, Any]:
    try:
        return show_whole_run(platform.stores, find_run(platform.stores, run_id))
    except SeamlineError as error:
        # The status line is sent already; a client that asks again gets the right one.
        return {"run_id": run_id, "error": status_of(UNKNOWN, str(error))}


def visitor_of(request: Request, principal: str) -> Visitor:
    address = request.client.host if request.client else ""
    return Visitor(principal, address, request.headers.get("user-agent", ""))


def _in_our_words(condition: Condition) -> Condition:
    """States are spelled differently, and several of ours can be one of theirs."""
    if condition.column == "storage":
        lowered = condition.value
        lowered = [one.lower() for one in lowered] if isinstance(lowered, list) else lowered.lower()
        return replace(condition, value=lowered)
    if condition.column != "state":
        return condition
    named = condition.value if isinstance(condition.value, list) else [condition.value]
    ours = [state for one in named for state in stored_states(one)]
    if condition.comparison in (Comparison.EQUALS, Comparison.IN):
        return Condition("state", Comparison.IN, ours)
    if condition.comparison is Comparison.NOT_EQUALS:
        return Condition("state", Comparison.NOT_IN, ours)
    raise InvalidInput(
        f"A run's state cannot be filtered by {condition.comparison.name}.",
        next_step="Use EQUALS, NOT_EQUALS or IN.",
    )
