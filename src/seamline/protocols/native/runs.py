"""Runs of pipelines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from seamline.app.submit_run import submit_ir, submit_pipeline
from seamline.domain.errors import InvalidInput
from seamline.domain.states import RunState, is_terminal
from seamline.promote.environments import find_environment
from seamline.protocols.native.access import Limit, Offset, PlatformOf, Reader, Runner, await_state
from seamline.train.runs import cancel_run, list_runs, read_log, run_state, show_run

ROUTER = APIRouter()
_ENDED = {state.value for state in RunState if is_terminal(state)}


class NewRun(BaseModel):
    pipeline: str | None = None
    ir: str | None = None
    arguments: dict[str, Any] = {}
    environment: str = "dataops"


@ROUTER.post("/runs")
def submit(platform: PlatformOf, who: Runner, body: NewRun) -> dict[str, Any]:
    if (body.pipeline is None) == (body.ir is None):
        raise InvalidInput("Give either `pipeline` (NAME@TAG) or `ir` (compiled YAML).")
    if body.ir is not None:
        run_id = submit_ir(
            platform,
            body.ir.encode(),
            arguments=body.arguments,
            environment=body.environment,
            by=who.name,
        )
    else:
        run_id = submit_pipeline(
            platform,
            body.pipeline or "",
            arguments=body.arguments,
            environment=body.environment,
            by=who.name,
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
def show(platform: PlatformOf, who: Reader, run_id: str, wait_s: float = 0) -> dict[str, Any]:
    await_state(platform, lambda: run_state(platform.stores, run_id), _ENDED, wait_s)
    return show_run(platform.stores, run_id)


@ROUTER.get("/runs/{run_id}/log")
def log(
    platform: PlatformOf, who: Reader, run_id: str, task: str, offset: Offset = 0
) -> dict[str, Any]:
    return read_log(platform.stores, run_id, task, offset=offset)


@ROUTER.post("/runs/{run_id}/cancel")
def cancel(platform: PlatformOf, who: Runner, run_id: str) -> dict[str, Any]:
    cancel_run(platform.stores, run_id, by=who.name)
    platform.engine.wake()
    return show_run(platform.stores, run_id)
