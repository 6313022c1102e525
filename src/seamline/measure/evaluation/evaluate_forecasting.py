"""Evaluate forecasts: points, and quantiles where there are any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from seamline.domain.errors import InvalidInput
from seamline.measure.evaluation.cells import Labels
from seamline.measure.evaluation.inputs import Numbers, read_blocks, read_floats, read_slices
from seamline.measure.evaluation.metrics.forecasting import ForecastMeasure, forecast_rows
from seamline.measure.evaluation.own import OwnMetric, add_own, directions
from seamline.measure.evaluation.score import Contender, Settings, score
from seamline.measure.evaluation.scorecard import Scorecard
from seamline.measure.evaluation.slices import CANDIDATE
from seamline.measure.evaluation.vocabulary import Rival, Task
from seamline.measure.exact import Floats

DEFAULTS = Settings()


@dataclass(frozen=True)
class Forecast:
    """A point per row, and values by quantile (0.1, 0.9) per row."""

    point: Numbers
    quantiles: Mapping[float, Numbers] = field(default_factory=dict)


def evaluate_forecasting(
    truth: Numbers,
    candidate: Forecast,
    blocks: Labels | None,
    slices: Mapping[str, Labels] | None = None,
    *,
    incumbent: Forecast | None = None,
    baseline: Forecast | None = None,
    scale: Numbers | None = None,
    own: Mapping[str, OwnMetric] | None = None,
    settings: Settings = DEFAULTS,
) -> Scorecard:
    """One row per series, time and horizon. Blocks are times: series move together. Series and
    horizon are slices. `scale`: each row's, from its series' training rows (`seasonal_scale`);
    without it there is no MASE. `baseline`: the seasonal naive forecast, say.

    >>> days, truth = np.repeat(np.arange(12), 25), np.full(300, 4.0)
    >>> card = evaluate_forecasting(truth, Forecast(truth + 1), days, scale=np.full(300, 2.0))
    >>> card.overall["mase"].value, card.overall["wape"].value
    (0.5, 0.25)
    """
    target = read_floats(truth, "true values", None)
    n_rows = len(target)
    size = None if scale is None else read_floats(scale, "scales", n_rows)
    if size is not None and size.min() <= 0:
        raise InvalidInput(
            f"{int((size <= 0).sum()):,} of {n_rows:,} rows have a scale of zero or less: their "
            "series does not change in training.",
            next_step="Leave such series out, or give no scale.",
        )
    given = {CANDIDATE: candidate, Rival.INCUMBENT: incumbent, Rival.BASELINE: baseline}
    contenders = {
        str(who): _read(str(who), one, target, size)
        for who, one in given.items()
        if one is not None
    }
    return score(
        Task.FORECASTING,
        add_own(contenders, own or {}, n_rows),
        read_blocks(blocks, n_rows, settings.seed),
        read_slices(slices, n_rows, settings.min_rows),
        settings,
        own_metrics=directions(own),
    )


def _read(who: str, given: Forecast, target: Floats, scale: Floats | None) -> Contender:
    n_rows = len(target)
    point = read_floats(given.point, f"{who} forecasts", n_rows)
    odd = [q for q in given.quantiles if not 0 < q < 1]
    if odd:
        raise InvalidInput(
            f"{who}: {odd[0]:g} is no quantile.", next_step="Quantiles lie between 0 and 1."
        )
    found = {
        q: read_floats(one, f"{who} quantiles {q:g}", n_rows) for q, one in given.quantiles.items()
    }
    order = sorted(found)
    for low, high in pairwise(order):
        crossed = int(np.sum(found[low] > found[high]))
        if crossed:
            raise InvalidInput(
                f"{who}: quantile {low:g} lies above {high:g} in {crossed:,} of {n_rows:,} rows.",
                next_step="Sort each row's quantiles in the prediction pipeline.",
            )
    rows = forecast_rows(target, point, scale, found)
    return Contender(rows, ForecastMeasure(scale is not None, tuple(order)))
