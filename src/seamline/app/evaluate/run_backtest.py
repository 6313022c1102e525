"""Back-test a model: its windows are made ready, then judged and recorded.

Asked again and again until the windows are settled: each time what can be started is started, and
what is done stands. Nothing of it is kept but the runs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl

from seamline.app.evaluate.backtest_windows import (
    Course,
    Step,
    WindowRuns,
    advance_window,
    unfinished_runs,
)
from seamline.app.evaluate.declared_since import windows_of
from seamline.app.evaluate.evaluate_model import (
    baseline_of,
    find_declared,
    load_judged,
    reference_of,
    specification,
)
from seamline.app.evaluate.prediction_run import (
    Days,
    PredictionRequest,
    find_incumbent,
    held_out,
)
from seamline.app.platform import Platform
from seamline.app.register.model_aliases import find_model
from seamline.data.versions import find_version, parse_reference, read_version, version_files
from seamline.domain.errors import InvalidInput, SeamlineError, nearest
from seamline.evaluate.backtest import WindowRows, judge_windows
from seamline.evaluate.backtests import Backtest, Subject, record_backtest
from seamline.evaluate.evaluations import Contender
from seamline.monitor.windows import complete_windows

DAY = "ds"


def run_backtest(platform: Platform, request: PredictionRequest, *, by: str) -> dict[str, Any]:
    """`state` is running, with `waits_for` (runs), or ended, with the recorded `backtest`."""
    course, note = _set_out(platform, request, by)
    windows = [advance_window(course, label, days) for label, days in _windows(course, request)]
    shown = [one.to_json() for one in windows]
    waits_for = unfinished_runs(windows)
    if waits_for:
        return {
            "state": "running",
            "windows": shown,
            "waits_for": waits_for,
            "note": note,
            "backtest": None,
        }
    recorded = _judge(course, windows, by)
    return {
        "state": "ended",
        "windows": shown,
        "waits_for": [],
        "note": note,
        "backtest": recorded.to_json(),
    }


def _set_out(platform: Platform, request: PredictionRequest, by: str) -> tuple[Course, str]:
    declared = find_declared(platform, request.model)
    if declared.backtest is None:
        raise InvalidInput(
            f"{request.model} declares no back-test.",
            next_step=f"Add [models.{request.model}.evaluation.backtest] to its seamline.toml.",
        )
    named = parse_reference(request.data)
    if named.dataset != declared.data or named.split:
        raise InvalidInput(
            f"{request.model} is back-tested on a version of {declared.data}, not on "
            f"{request.data}.",
            next_step=nearest(named.dataset, [declared.data]),
        )
    candidate = find_model(platform.stores, request.model, request.version)
    incumbent, note = find_incumbent(platform, candidate, request.against)
    data = find_version(platform.stores, request.data)
    return Course(platform, declared, declared.backtest, candidate, incumbent, data, by), note


def _windows(course: Course, request: PredictionRequest) -> list[tuple[str, Days]]:
    """The last ones that the data covers; without retraining, only those that come after what the
    version was trained on."""
    if course.tested.retrain:
        days = _days_of(course, request)
    else:
        span = held_out(course.platform, request, course.candidate, course.data)
        days = [day for day in _days_of(course, request) if span.start <= day < span.end]
    found = complete_windows(days, course.tested.window, days[-1]) if days else []
    # A window that begins before the first of the days is judged on a part of itself only.
    whole = [one for one in found if one.start >= days[0]]
    chosen = whole[-course.tested.windows :]
    if len(chosen) < 2:
        raise InvalidInput(
            f"{course.data.reference} has {len(chosen)} whole {course.tested.window} "
            "to judge; a back-test needs 2.",
            next_step="Name shorter windows, other days (--since), or a longer version.",
        )
    return [(one.label, Days(one.start, one.end)) for one in chosen]


def _days_of(course: Course, request: PredictionRequest) -> list[date]:
    files = version_files(course.platform.stores, course.data)
    days = sorted({date.fromisoformat(file.partition) for file in files})
    since, until = request.since or date.min, request.until or date.max
    return [day for day in days if since <= day < until]


def _judge(course: Course, windows: list[WindowRuns], by: str) -> Backtest:
    first, last = windows[0].days.start, windows[-1].days.end
    truth = read_version(course.platform.stores, course.data, since=first, until=last)
    against = course.declared.against_incumbent if course.incumbent is not None else ()
    spec = specification(course.declared, course.candidate)
    spec = spec.with_checks(course.tested.checks, against)
    loaded = [_load(course, one) for one in windows]
    baseline, _ = baseline_of(course.platform, course.declared, course.candidate, first)
    result = judge_windows(
        [rows for rows, _ in loaded],
        truth,
        spec,
        metric=course.tested.metric,
        max_lost=course.tested.max_lost,
        baseline=baseline,
    )
    alike = sum(
        one.theirs is not None and one.theirs.version == one.ours.version for one in windows
    )
    if alike:
        said = f"in {alike} windows both are trained alike: there is nothing to compare"
        result = replace(result, sentences=(*result.sentences, said))
    judged = [one for _, found in loaded for one in found]
    tested = Subject(
        course.candidate.model,
        course.candidate.version,
        course.candidate.wheel_digest,
        tuple(sorted({one.pipeline_digest for one in judged if one.model})),
        [one.to_json() for one in windows],
        None if course.incumbent is None else course.incumbent.version,
    )
    return record_backtest(
        course.platform.stores,
        tested=tested,
        data=reference_of(course.data),
        spec=spec,
        result=result,
        by=by,
        how=windows_of(course.tested),
    )


def _load(course: Course, window: WindowRuns) -> tuple[WindowRows, list[Contender]]:
    """The predictions of a window that is ready, and whose they are (the candidate's side)."""
    version = window.ours.version or course.candidate.version
    if window.step is not Step.READY or window.ours.run_id is None:
        return WindowRows(window.label, version, error=window.sentence), []
    platform, declared, model = course.platform, course.declared, course.candidate.model
    try:
        ours = load_judged(platform, declared, model, version, window.ours.run_id, "")
        rows = _of_window(ours.predictions, window.days)
        theirs, rival = None, window.theirs
        if rival is not None and rival.run_id is not None:
            found = load_judged(platform, declared, model, rival.version, rival.run_id, "")
            theirs = _of_window(found.predictions, window.days)
    except SeamlineError as error:
        return WindowRows(window.label, version, error=str(error)), []
    return WindowRows(window.label, version, rows, theirs), [ours.contender]


def _of_window(predictions: pl.DataFrame, days: Days) -> pl.DataFrame:
    day = pl.col(DAY).cast(pl.Date)
    return predictions.filter((day >= days.start) & (day < days.end))
