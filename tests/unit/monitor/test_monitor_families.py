"""Many models in a window: each against its own reference, one line per column; none by chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from seamline.domain.states import Verdict
from seamline.measure.basis import make_basis
from seamline.measure.profiles import profile_partitions, sum_profiles
from seamline.monitor.drift import DriftReference, not_measured
from seamline.monitor.families import Member, Part, measure_family_drift, sum_up
from seamline.monitor.measurement import Measurement, MeasurementKind

BEGAN = date(2013, 1, 1)
Make = Callable[..., Member]


def rows(model: int, days: int, per_day: int, seed: int, shift: float = 0.0) -> pl.DataFrame:
    """Each model's flights are of their own length; days differ a little."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(days), per_day)
    moved = rng.normal(0, 5, days)[day]
    return pl.DataFrame(
        {
            "ds": [str(BEGAN + timedelta(days=int(one))) for one in day],
            "distance": rng.normal(200 * model + shift, 60, len(day)) + moved,
            "hour": rng.integers(5, 23, len(day)),
        }
    )


def reference(model: int, days: int = 30) -> DriftReference:
    frame = rows(model, days, 20, seed=model)
    inputs = frame.drop("ds")
    found = profile_partitions(inputs, make_basis(inputs), frame["ds"])
    return DriftReference(sum_profiles(list(found.values())), found)


def member(model: int, shift: float = 0.0, per_day: int = 6, **more: int) -> Member:
    served = rows(model, 30, per_day, seed=1000 + model, shift=shift)
    made = reference(model, **more)
    return Member(f"air-{model} 1.0.0", served, lambda columns: made, {})


def by_column(members: Sequence[Member]) -> dict[str, Measurement]:
    return {one.subject: one for one in measure_family_drift(members, threshold=0.2)}


@pytest.fixture(scope="module")
def calm() -> list[Member]:
    return [member(number) for number in range(1, 21)]


def test_models_that_differ_from_each_other_have_not_drifted(calm: list[Member]) -> None:
    found = by_column(calm)
    assert {name: one.verdict for name, one in found.items()} == {
        "distance": Verdict.PASS,
        "hour": Verdict.PASS,
    }
    assert found["hour"].sentence == "hour: none of 20 models has changed"
    assert found["hour"].n_rows == 20 * 180


def test_one_thin_model_among_many_is_found_and_named(calm: list[Member]) -> None:
    found = by_column([*calm[:-1], member(20, shift=120.0)])
    assert found["hour"].verdict is Verdict.PASS
    distance = found["distance"]
    assert distance.verdict is Verdict.FAIL
    assert distance.sentence.startswith(
        "distance: 1 of 20 models changed, which answered 180 of 3,600 rows: air-20 1.0.0: mean 4"
    )
    assert list(distance.detail["models"]) == ["air-20 1.0.0"]
    # A thousand draws could not tell one in twenty from chance.
    assert distance.detail["models"]["air-20 1.0.0"]["p_value"] <= 0.01 / 20
    assert distance.check == "drift(distance)"


def test_a_busy_model_is_told_from_which_day_on(calm: list[Member]) -> None:
    late = pl.concat([rows(1, 30, 40, 7)[: 26 * 40], rows(1, 30, 40, 7, shift=150.0)[26 * 40 :]])
    busy = Member("air-1 1.0.1", late, lambda columns: reference(1), {})
    found = by_column([busy, calm[0]])["distance"]
    assert found.verdict is Verdict.FAIL
    assert found.first_day == str(BEGAN + timedelta(days=26))
    assert "air-1 1.0.1: from 2013-01-27 on mean" in found.sentence


def test_who_is_not_judged_is_said(calm: list[Member]) -> None:
    served = calm[0].served
    bare = Member("bare 1", served, lambda columns: None, {})
    private = Member("shy 1", served.drop("hour"), calm[0].reference, {"hour": "it is private"})
    young = member(2, days=9)
    found = by_column([calm[0], calm[1], bare, private, young])
    assert found["hour"].sentence == (
        "hour: none of 2 models has changed; 3 are not judged: no profile of training rows (1), "
        "it is private (1), …"
    )
    assert found["distance"].detail["n_judged"] == 3
    found = by_column([bare, young])
    assert found["hour"].verdict is Verdict.INCONCLUSIVE
    assert found["hour"].sentence == (
        "hour: none of 2 models is judged: no profile of training rows (1), "
        "9 reference days, 10 are needed (1)"
    )
    assert by_column([bare, bare]) == {}


def part(name: str, p_value: float | None) -> Part:
    verdict = Verdict.PASS if p_value is None else Verdict.FAIL
    detail = {} if p_value is None else {"p_value": p_value}
    found = Measurement(
        MeasurementKind.OUTPUT, "score", verdict, f"score: of {name}", 0.5, n_rows=10, detail=detail
    )
    return Part(name, 10, found)


def test_what_chance_explains_among_so_many_is_nothing() -> None:
    calm = [part(f"m{number}", None) for number in range(98)]
    assert sum_up([*calm, part("a", 0.001)]).verdict is Verdict.PASS
    found = sum_up([*calm, part("a", 0.001), part("b", 1e-5)])
    assert found.verdict is Verdict.FAIL
    assert list(found.detail["models"]) == ["b"]
    assert found.value is None, "a mean over models would say nothing"
    many = sum_up([*calm[:10], *(part(f"x{number:02}", 1e-6) for number in range(30))])
    assert many.sentence == (
        "score: 30 of 40 models changed, which answered 300 of 400 rows: "
        "x00: of x00; x01: of x01; x02: of x02; and 27 more"
    )
    assert len(many.detail["models"]) == 10
    unjudged = Part("u", 5, not_measured("score", "no rows were served"))
    assert "; 1 is not judged: no rows were served (1)" in sum_up([*calm, unjudged]).sentence
