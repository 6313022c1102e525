"""Runs of pipelines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.repeat_run import rerun, retry
from seamline.app.scenarios import submit_scenarios
from seamline.app.submit_run import find_pipeline_by_reference, submit_ir
from seamline.domain.errors import InvalidInput
from seamline.domain.states import RunState, is_terminal
from seamline.promote.environments import find_environment
from seamline.protocols.native.access import Limit, Offset, PlatformOf, Reader, Runner, await_state
from seamline.train.explain import explain_task
from seamline.train.options import RunLabel, read_options
from seamline.train.runs import cancel_run, list_runs, read_log, run_state, show_run

ROUTER = APIRouter()
_ENDED = {state.value for state in RunState if is_terminal(state)}


class NewRun(BaseModel):
    #: NAME@TAG or NAME@sha256:…
    pipeline: str | None = None
    #: Compiled YAML or JSON.
    ir: str | None = None
    arguments: dict[str, Any] = {}
    environment: str = "dataops"
    name: str = ""
    team: str = ""
    #: failure_policy, isolation, enable_cache, cache_max_age_s, slots, demand_fidelity, …
    options: dict[str, Any] = {}
    #: grid, list or query: one run over all of them. The text of such a file will do, too.
    scenarios: dict[str, Any] | str | None = None


class Rerun(BaseModel):
    #: Those that change.
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}


@ROUTER.post("/runs")
def submit(platform: PlatformOf, who: Runner, body: NewRun) -> dict[str, Any]:
    if (body.pipeline is None) == (body.ir is None):
        raise InvalidInput("Give either `pipeline` (NAME@TAG) or `ir` (compiled YAML).")
    label = RunLabel(display_name=body.name, team=body.team, reference=body.pipeline)
    options = read_options(body.options)
    if body.ir is not None:
        ir = body.ir.encode()
    else:
        found = find_pipeline_by_reference(platform, body.pipeline or "")
        ir = platform.stores.blobs.get(found.digest, f"pipeline {body.pipeline}")
    if body.scenarios is not None:
        run_id = submit_scenarios(
            platform,
            ir,
            body.scenarios,
            arguments=body.arguments,
            environment=body.environment,
            by=who.name,
            label=label,
            options=options,
        )
    else:
        run_id = submit_ir(
            platform,
            ir,
            arguments=body.arguments,
            environment=body.environment,
            by=who.name,
            label=label,
            options=options,
        )
    return show_run(platform.stores, run_id)


@ROUTER.get("/runs")
def list_(
    platform: PlatformOf, who: Reader, environment: str | None = None, limit: Limit = 100
) -> list[dict[str, Any]]:
    if environment is not None:
        with platform.stores.db.read() as connection:
            find_environment(connection, environment)
    return list_runs(platform.stores, environment=environment, limit=limit)


@ROUTER.get("/runs/{run_id}")
def show(
    platform: PlatformOf, who: Reader, run_id: str, wait_s: float = 0, within: str | None = None
) -> dict[str, Any]:
    """`within`: only what is inside of that group, loop or iteration."""
    await_state(platform, lambda: run_state(platform.stores, run_id), _ENDED, wait_s)
    return show_run(platform.stores, run_id, within)


@ROUTER.get("/runs/{run_id}/log")
def log(
    platform: PlatformOf, who: Reader, run_id: str, task: str, offset: Offset = 0
) -> dict[str, Any]:
    return read_log(platform.stores, run_id, task, offset=offset)


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
    options = read_options(body.options)
    made = rerun(platform, run_id, arguments=body.arguments, options=options, by=who.name)
    return show_run(platform.stores, made)
