"""The gate `backtest`: a release that it alone stops, and what counts as a back-test of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from seamline.app.platform import Platform
from seamline.app.promote import gates
from seamline.app.promote.gates import GATES, backtest
from seamline.domain.digests import digest_of
from seamline.domain.states import PromotionPhase, Verdict
from seamline.evaluate.backtest import WindowRows, judge_windows
from seamline.evaluate.backtests import Subject, record_backtest
from seamline.evaluate.evaluations import DataReference
from seamline.evaluate.spec import EvaluationSpec
from seamline.project.plan import apply_project
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease, find_release
from seamline.promote.requests import request_promotion
from seamline.register.models.catalogue import find_model_version

from .conftest import House
from .good_release import ALL, FIRST, KEYS, GoodRelease, good_release


def back_test(
    good: GoodRelease,
    noise: float = 0.3,
    pipeline: bytes | None = None,
    error: str = "",
    against: str | None = None,
    max_lost: int = 0,
) -> None:
    """Two windows of 20 days, the second errored where `error` says why."""
    rng, n = np.random.default_rng(7), 40 * 60
    late = rng.random(n) < 0.4
    days = [FIRST + timedelta(days=i // 60) for i in range(n)]
    truth = pl.DataFrame({"ds": days, "id": np.arange(n), "late": late})
    score = np.clip(late * 0.6 + 0.2 + rng.normal(0, noise, n), 0, 1)
    predictions = truth.select(KEYS).with_columns(pl.Series("score", score))
    cut = FIRST + timedelta(days=20)
    windows = [WindowRows("first", "1.0.0", predictions.filter(pl.col("ds") < cut))]
    second = predictions.filter(pl.col("ds") >= cut)
    windows.append(WindowRows("second", "1.0.0", None if error else second, error=error))
    spec = EvaluationSpec(KEYS, "late", "score", checks=("auc >= 0.7",))
    model = find_model_version(good.house.stores, "late", "1.0.0")
    digest = digest_of(good.house.old if pipeline is None else pipeline)
    record_backtest(
        good.house.stores,
        tested=Subject("late", "1.0.0", model.wheel_digest, (digest,), (), against),
        how={"window": "month", "windows": 2, "retrain": False, "max_lost": max_lost},
        data=DataReference(good.trained.reference, good.trained.digest),
        spec=spec,
        result=judge_windows(windows, truth, spec),
        by="nora",
    )


@pytest.fixture
def good(house: House, tmp_path: Path) -> GoodRelease:
    made = good_release(house, tmp_path)
    made.apply(replace(made.policy, gates=(*ALL, "backtest")))
    return made


def test_it_opens_for_what_held_in_each_window(good: GoodRelease) -> None:
    back_test(good)
    asked = good.ask()
    assert good.shut(asked) == {}
    assert good.phase(asked) is PromotionPhase.LIVE


@pytest.mark.parametrize(
    ("spoil", "verdict", "says"),
    [
        (
            lambda good: None,
            Verdict.INCONCLUSIVE,
            "late 1.0.0 was not back-tested by the release's",
        ),
        (lambda good: back_test(good, noise=3.0), Verdict.FAIL, "late 1.0.0 on calls@1: fail"),
        (
            lambda good: back_test(good, error="the training run ended as failed"),
            Verdict.INCONCLUSIVE,
            "late 1.0.0 on calls@1: inconclusive; 2 windows by auc: 1 undecided, 1 errored",
        ),
        (
            lambda good: back_test(good, pipeline=good.house.new),
            Verdict.INCONCLUSIVE,
            "was not back-tested by the release's pipelines",
        ),
    ],
)
def test_only_this_gate_stops_it(
    good: GoodRelease,
    spoil: Callable[[GoodRelease], None],
    verdict: Verdict,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoil(good)
    asked = good.ask()
    assert set(good.shut(asked)) == {"backtest"}
    found, sentence = good.shut(asked)["backtest"]
    assert found is verdict and says in sentence, sentence
    assert good.phase(asked) is PromotionPhase.FAILED
    assert good.live() is None

    def passes(platform: Platform, promotion: Promotion, release: StoredRelease) -> GateResult:
        return GateResult("backtest", Verdict.PASS, "it always opens", {})

    monkeypatch.setattr(gates, "GATES", {**GATES, "backtest": passes})
    again = good.ask()
    assert good.phase(again) is PromotionPhase.LIVE


DECLARED = """
project = "calls"
team = "calls"
[datasets.calls]
[models.late]
pipeline = "training"
output = "train.model"
samples = "train.rows"
[models.late.evaluation]
pipeline = "score"
data = "calls"
keys = ["ds", "id"]
label = "late"
prediction = "score"
[models.late.evaluation.backtest]
windows = 2
checks = ["auc >= 0.7"]
"""


@pytest.fixture
def look(good: GoodRelease) -> Callable[[], GateResult]:
    """What the gate says of one and the same promotion."""
    with good.house.stores.db.read() as connection:
        release = find_release(connection, "good")
    asked = request_promotion(good.house.stores, "good", "development", by="ann")
    return lambda: backtest.check(good.house.platform, asked, release)


def test_windows_that_were_declared_otherwise_are_judged_anew(
    good: GoodRelease, look: Callable[[], GateResult]
) -> None:
    back_test(good)
    apply_project(good.house.stores, DECLARED, "seamline.toml", by="root")
    assert look().verdict is Verdict.PASS
    back_test(good, max_lost=1)  # as it was declared, say, when it was lost
    found = look()
    assert found.verdict is Verdict.PASS, "the one that counts is not hidden"
    moved = DECLARED.replace('label = "late"', 'label = "late > 0"')
    apply_project(good.house.stores, moved, "seamline.toml", by="root")
    assert "label was 'late' and is 'late > 0' now" in look().sentence
    fewer = DECLARED.replace("windows = 2", "windows = 4")
    apply_project(good.house.stores, fewer, "seamline.toml", by="root")
    found = look()
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "back-tested by another declaration: windows was 2 and is 4 now" in found.sentence


def test_the_incumbent_is_the_one_that_is_live_there(
    good: GoodRelease, look: Callable[[], GateResult]
) -> None:
    good.apply(replace(good.policy, gates=()))
    good.house.register("0.9.0")
    good.house.go_live("before", "score@1.0.0", models=("late@0.9.0",))
    back_test(good)
    found = look()
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "was judged alone, and 0.9.0 is live in development" in found.sentence
    assert "--against development" in found.sentence
    back_test(good, against="0.9.0")
    back_test(good, against="0.8.0")  # somebody was curious
    assert look().verdict is Verdict.PASS
