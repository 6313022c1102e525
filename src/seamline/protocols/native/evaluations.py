"""Evaluations: make one, from a run or from a version of the data; compare; decide other checks."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from seamline.app.evaluate.compare import compare
from seamline.app.evaluate.decide_again import decide_again
from seamline.app.evaluate.evaluate_model import EvaluationRequest, evaluate_model
from seamline.app.evaluate.judged_run import model_of_run
from seamline.app.evaluate.prediction_run import PredictionRequest, request_predictions
from seamline.app.evaluate.run_backtest import run_backtest
from seamline.evaluate.backtests import find_backtest, list_backtests
from seamline.evaluate.evaluations import list_evaluations
from seamline.evaluate.page import evaluation_page
from seamline.evaluate.show import show_evaluation, show_with_backtest
from seamline.project.evaluations import read_evaluation_file
from seamline.protocols.native.access import Evaluator, PlatformOf, Reader, Runner

ROUTER = APIRouter()


class NewEvaluation(BaseModel):
    """`model` left out: the one that the run predicted with."""

    model: str | None = None
    version: str | None = None
    run_id: str
    task: str = ""
    against: str | None = None
    against_run: str | None = None
    #: The version that holds the truth; by default the newest.
    data: str | None = None
    since: date | None = None
    until: date | None = None
    #: A file of checks of one's own, in place of those declared, and what it is called.
    spec: str | None = None
    spec_name: str = "evaluation.yaml"


class NewPredictions(BaseModel):
    model: str
    version: str | None = None
    data: str
    against: str | None = None
    since: date | None = None
    until: date | None = None


class OtherChecks(BaseModel):
    checks: list[str]


@ROUTER.post("/evaluation-runs")
def predict(platform: PlatformOf, who: Runner, body: NewPredictions) -> dict[str, Any]:
    """The runs of the prediction pipeline to judge a version by, on a version of the data: those
    that are there, or new ones. `against`: a version, or the environment that it is live in."""
    return request_predictions(platform, PredictionRequest(**body.model_dump()), by=who.name)


@ROUTER.post("/evaluations")
def evaluate(platform: PlatformOf, who: Evaluator, body: NewEvaluation) -> dict[str, Any]:
    given = body.model_dump(exclude={"spec", "spec_name"})
    if body.model is None:
        found = model_of_run(platform, body.run_id)
        given |= {"model": found.model, "version": body.version or found.version}
    declared = None if body.spec is None else read_evaluation_file(body.spec, body.spec_name)
    request = EvaluationRequest(**given, declared=declared)
    return show_evaluation(platform.stores, evaluate_model(platform, request, by=who.name))


@ROUTER.get("/evaluations")
def list_(platform: PlatformOf, who: Reader, model: str | None = None) -> list[dict[str, Any]]:
    return [one.to_json() for one in list_evaluations(platform.stores, model)]


@ROUTER.get("/evaluations/{evaluation_id}")
def show(platform: PlatformOf, who: Reader, evaluation_id: str) -> dict[str, Any]:
    return show_evaluation(platform.stores, evaluation_id)


@ROUTER.post("/evaluations/{evaluation_id}/decide")
def decide(
    platform: PlatformOf, who: Reader, evaluation_id: str, body: OtherChecks
) -> dict[str, Any]:
    """Other checks, on what the evaluation keeps. Nothing is recorded, and no row is read."""
    return decide_again(platform, evaluation_id, body.checks)


@ROUTER.get("/evaluation-pages")
def page(
    platform: PlatformOf, who: Reader, evaluation: Annotated[list[str], Query()]
) -> dict[str, str]:
    """One self-contained HTML page of these evaluations, as text."""
    return {
        "html": evaluation_page([show_with_backtest(platform.stores, one) for one in evaluation])
    }


@ROUTER.post("/backtests")
def backtest(platform: PlatformOf, who: Runner, body: NewPredictions) -> dict[str, Any]:
    """One window of time after another. Ask again while `state` is running: what can be started is
    started, what is done stands; `waits_for` names the runs that are going on. At the end it is
    recorded."""
    return run_backtest(platform, PredictionRequest(**body.model_dump()), by=who.name)


@ROUTER.get("/backtests")
def backtests(platform: PlatformOf, who: Reader, model: str | None = None) -> list[dict[str, Any]]:
    return [one.to_json() for one in list_backtests(platform.stores, model)]


@ROUTER.get("/backtests/{backtest_id}")
def show_backtest(platform: PlatformOf, who: Reader, backtest_id: str) -> dict[str, Any]:
    return find_backtest(platform.stores, backtest_id).to_json()


@ROUTER.get("/comparisons")
def compare_(platform: PlatformOf, who: Reader, before: str, after: str) -> dict[str, Any]:
    """Two versions of a model (NAME==VERSION), two runs, or two releases: per model the newest
    evaluation of the one against the other."""
    return compare(platform, before, after)
