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
from seamline.app.promote.gates import GATES
from seamline.domain.digests import digest_of
from seamline.domain.states import PromotionPhase, Verdict
from seamline.evaluate.backtest import WindowRows, judge_windows
from seamline.evaluate.backtests import Subject, record_backtest
from seamline.evaluate.evaluations import DataReference
from seamline.evaluate.spec import EvaluationSpec
from seamline.promote.gate_results import GateResult
from seamline.promote.promotion import Promotion
from seamline.promote.release import StoredRelease
from seamline.register.models.catalogue import find_model_version

from .conftest import House
from .good_release import ALL, FIRST, KEYS, GoodRelease, good_release


def back_test(
    good: GoodRelease, noise: float = 0.3, pipeline: bytes | None = None, error: str = ""
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
        tested=Subject("late", "1.0.0", model.wheel_digest, (digest,), ()),
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
