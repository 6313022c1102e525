"""Runs of pipelines."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from seamline.app.platform import Platform
from seamline.app.register.model_outcomes import Packagings, list_outcomes
from seamline.app.train.repeat_run import rerun, retry
from seamline.app.train.run_ends import RunEnds
from seamline.app.train.run_news import Known, RunNews
from seamline.app.train.scenarios import submit_scenarios
from seamline.app.train.submit_run import find_pipeline_by_reference, read_published, submit_ir
from seamline.domain.errors import InvalidInput
from seamline.domain.states import RunState
from seamline.promote.environments import find_environment
from seamline.protocols.native.access import (
    MAX_WAIT_S,
    Limit,
    Offset,
    PlatformOf,
    Reader,
    Runner,
)
from seamline.train.arguments import parse_arguments
from seamline.train.options import RunLabel, read_options
from seamline.train.plan.load import load_plan, plan_of
from seamline.train.runs import (
    cancel_run,
    list_runs,
    read_log,
    run_state,
    show_request,
    show_run,
)
from seamline.train.views.events import read_bookmark
from seamline.train.views.explain import explain_task
from seamline.train.views.following import show_progress
from seamline.trust.roles import Principal
from seamline.trust.teams import check_label

ROUTER = APIRouter()
#: Options that a re-run keeps; what its cache may give is asked anew each time.
_KEPT = ("failure_policy", "isolation", "slots", "demand_fidelity", "demand_resources")
Attempt = Annotated[int, Query(ge=1, lt=1 << 31)]


class NewRun(BaseModel):
    #: NAME@TAG or NAME@sha256:…
    pipeline: str | None = None
    #: Compiled YAML or JSON.
    ir: str | None = None
    arguments: dict[str, Any] = {}
    #: Arguments as written by hand, read by the types that the pipeline declares.
    texts: dict[str, str] = {}
    environment: str = "dataops"
    #: Outside dataops: with which one; by default the live one, else one that is being checked.
    release: str | None = None
    name: str = ""
    team: str = ""
    #: failure_policy, isolation, enable_cache, cache_max_age_s, slots, demand_fidelity, …
    options: dict[str, Any] = {}
    #: grid, list or query: one run over all of them. The text of such a file will do, too.
    scenarios: dict[str, Any] | str | None = None


class Rerun(BaseModel):
    #: Those that change.
    arguments: dict[str, Any] = {}
    #: The same, as written by hand.
    texts: dict[str, str] = {}
    #: Those that change, too; what it may take from the cache is not kept from the old run.
    options: dict[str, Any] = {}


@ROUTER.post("/runs")
def submit(platform: PlatformOf, who: Runner, body: NewRun) -> dict[str, Any]:
    if (body.pipeline is None) == (body.ir is None):
        raise InvalidInput("Give either `pipeline` (NAME@TAG) or `ir` (compiled YAML).")
    _check_label(platform, who, body.team)
    label = RunLabel(display_name=body.name, team=body.team, reference=body.pipeline)
    options = read_options(body.options)
    if body.ir is not None:
        ir = body.ir.encode()
    else:
        found = find_pipeline_by_reference(platform, body.pipeline or "")
        version = (body.pipeline or "").partition("@")[2]
        ir = read_published(platform, found.package, version, found.digest, options)
    arguments = body.arguments
    if body.texts:
        arguments = {**arguments, **parse_arguments(plan_of(ir).parameters, body.texts)}
    if body.scenarios is not None:
        run_id = submit_scenarios(
            platform,
            ir,
            body.scenarios,
            arguments=arguments,
            environment=body.environment,
            by=who.name,
            label=label,
            options=options,
            release=body.release,
        )
    else:
        run_id = submit_ir(
            platform,
            ir,
            arguments=arguments,
            environment=body.environment,
            by=who.name,
            label=label,
            options=options,
            release=body.release,
        )
    return show_run(platform.stores, run_id)


def _check_label(platform: Platform, who: Principal, team: str) -> None:
    """Its share of the slots is the team's own."""
    if team:
        with platform.stores.db.read() as connection:
            check_label(connection, who, team)


@ROUTER.get("/runs")
def list_(
    platform: PlatformOf,
    who: Reader,
    environment: str | None = None,
    pipeline: str | None = None,
    state: RunState | None = None,
    limit: Limit = 100,
) -> list[dict[str, Any]]:
    if environment is not None:
        with platform.stores.db.read() as connection:
            find_environment(connection, environment)
    return list_runs(
        platform.stores, environment=environment, pipeline=pipeline, state=state, limit=limit
    )


@ROUTER.get("/runs/{run_id}")
async def show(
    request: Request,
    platform: PlatformOf,
    who: Reader,
    run_id: str,
    wait_s: float = 0,
    within: str | None = None,
) -> dict[str, Any]:
    """`within`: only what is inside of that group, loop or iteration. `wait_s`: held until the run
    has ended, 25 s at the most."""
    if wait_s > 0:
        await run_in_threadpool(run_state, platform.stores, run_id)
        ends: RunEnds = request.app.state.run_ends
        await ends.wait(run_id, min(wait_s, MAX_WAIT_S))
    return await run_in_threadpool(show_run, platform.stores, run_id, within)


@ROUTER.get("/runs/{run_id}/progress")
async def progress(
    request: Request,
    platform: PlatformOf,
    who: Reader,
    run_id: str,
    cursor: str | None = None,
    wait_s: float = 0,
    newest: bool = False,
    limit: Limit = 200,
) -> dict[str, Any]:
    """How far a run is, in few words, and what happened in it: events from the first on.

    `cursor`: only what happened since the answer that it is from; then `wait_s` holds the request
    until there is something new, 25 s at the most. `newest`: the last events only.
    """
    bookmark = read_bookmark(cursor) if cursor is not None else None
    if bookmark is not None and wait_s > 0:
        await run_in_threadpool(run_state, platform.stores, run_id)
        news: RunNews = request.app.state.run_news
        await news.wait(Known(run_id, bookmark.stamp), min(wait_s, MAX_WAIT_S))
    found = await run_in_threadpool(
        show_progress, platform.stores, run_id, bookmark, newest=newest, limit=limit
    )
    return {**found, "slots": _slots(platform)}


def _slots(platform: Platform) -> dict[str, int]:
    """Of all runs together."""
    counts = platform.counts()
    return {"of": platform.engine.slots, "busy": counts.running, "waiting": counts.ready}


@ROUTER.get("/runs/{run_id}/models")
async def models(
    request: Request, platform: PlatformOf, who: Reader, run_id: str, wait_s: float = 0
) -> list[dict[str, Any]]:
    """What became of the models that the run was to make. `wait_s`: held until nothing of an ended
    run is left to be packaged, 25 s at the most."""
    if wait_s > 0:
        await run_in_threadpool(run_state, platform.stores, run_id)
        packagings: Packagings = request.app.state.packagings
        await packagings.wait(run_id, min(wait_s, MAX_WAIT_S))
    found = await run_in_threadpool(list_outcomes, platform, run_id)
    return [one.to_json() for one in found]


@ROUTER.get("/runs/{run_id}/log")
def log(
    platform: PlatformOf,
    who: Reader,
    run_id: str,
    task: str,
    offset: Offset = 0,
    attempt: Attempt | None = None,
) -> dict[str, Any]:
    """`attempt`: the last one, unless said."""
    return read_log(platform.stores, run_id, task, offset=offset, attempt=attempt)


@ROUTER.get("/runs/{run_id}/explain")
def explain(platform: PlatformOf, who: Reader, run_id: str, task: str) -> dict[str, Any]:
    """Why a task was, or was not, taken from the cache."""
    return explain_task(platform.stores, run_id, task)


@ROUTER.post("/runs/{run_id}/cancel")
def cancel(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
    cancel_run(platform.stores, run_id, by=who.name)
    platform.engine.wake()
    return show_run(platform.stores, run_id)


@ROUTER.post("/runs/{run_id}/retry")
def retry_(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
    """Only what failed, was canceled or never ran, and what comes after that."""
    again = retry(platform, run_id, by=who.name)
    return {**show_run(platform.stores, run_id), "again": again}


@ROUTER.post("/runs/{run_id}/rerun")
def rerun_(platform: PlatformOf, who: Runner, run_id: str, body: Rerun) -> dict[str, Any]:
    """A new run; results of the old one stand in wherever nothing has changed."""
    old = show_request(platform.stores, run_id)
    _check_label(platform, who, old["team"])
    kept = {name: value for name, value in old["options"].items() if name in _KEPT}
    options = read_options({**kept, **body.options})
    arguments = body.arguments
    if body.texts:
        specs = load_plan(platform.stores, old["pipeline_digest"]).parameters
        arguments = {**arguments, **parse_arguments(specs, body.texts)}
    made = rerun(platform, run_id, arguments=arguments, options=options, by=who.name)
    return show_run(platform.stores, made)
