"""Do a run again: what failed of it, in place; or all of it, as a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from seamline.app.platform import Platform
from seamline.app.train.submit_run import submit_ir
from seamline.domain.errors import Refused
from seamline.domain.states import RunState, is_terminal
from seamline.promote.admission import admit_for_good
from seamline.train.again import retry_run
from seamline.train.attempts.volumes import check_workspace
from seamline.train.options import RunLabel, RunOptions
from seamline.train.plan.load import load_plan
from seamline.train.runs import show_request


def retry(platform: Platform, run_id: str, *, by: str) -> list[str]:
    """Paths of the tasks that run again. Refused while the run goes on."""
    plan = load_plan(platform.stores, show_request(platform.stores, run_id)["pipeline_digest"])
    if plan.pipeline.has_workspace:
        check_workspace(platform.stores, run_id)
    again = retry_run(platform.stores, run_id, by=by, check=_check_release)
    platform.engine.wake()
    return again


def _check_release(tx: Connection, run: Row[Any]) -> None:
    """What is done again is done with the release of the first time, or not at all (law 4)."""
    what = f"The pipeline of run {run.id}"
    try:
        admit_for_good(tx, run.environment, what, [run.pipeline_digest], run.release)
    except Refused as error:
        again = f"Or do all of it again with what is live now: seamline run rerun {run.id}."
        raise Refused(error.message, next_step=f"{error.next_step} {again}") from error


def rerun(
    platform: Platform,
    run_id: str,
    *,
    arguments: Mapping[str, Any],
    options: RunOptions,
    by: str,
) -> str:
    """A new run of the same pipeline, with these arguments changed.

    Results of the old run stand in wherever nothing has changed, but for `options.from_task` and
    all that comes after it; without a cache, only for what comes before that task, and where there
    is none for nothing. Refused while the old run goes on.
    """
    old = show_request(platform.stores, run_id)
    if not is_terminal(RunState(old["state"])):
        raise Refused(
            f"Run {run_id} has not ended: it is {old['state']}.",
            next_step=f"Wait for it: seamline run wait {run_id}.",
        )
    is_all_anew = options.enable_cache is False and options.from_task is None
    return submit_ir(
        platform,
        platform.stores.blobs.get(old["pipeline_digest"], f"pipeline of run {run_id}"),
        arguments={**old["arguments"], **arguments},
        environment=old["environment"],
        by=by,
        label=RunLabel(
            display_name=old["display_name"] if old["display_name"] != run_id else "",
            team=old["team"],
            experiment_id=old["experiment_id"],
            reference=old["reference"],
        ),
        options=options,
        reuses_run=None if is_all_anew else run_id,
    )
