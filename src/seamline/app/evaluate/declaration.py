"""What a seamline.toml says of how versions of a model are proved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seamline.evaluate.business import BusinessMetric
from seamline.evaluate.derive import Derived
from seamline.evaluate.spec import DAY, MIN_ROWS, ROWS, EvaluationSpec
from seamline.measure.evaluation.vocabulary import Task


@dataclass(frozen=True)
class BacktestDeclaration:
    """Windows of event time, one after another, each judged on rows that came after what the
    model of that window was trained on."""

    #: Length of a window: "day", "week" or "month".
    window: str = "month"
    #: How many windows, the last ones of the data.
    windows: int = 6
    #: Whether the training pipeline is run anew for each window, with `arguments`; else the one
    #: version is judged in each.
    retrain: bool = False
    #: Whether the incumbent is trained anew for each window, too, by its own pipeline: what is
    #: compared are then two ways to train, and it takes part in every window.
    retrain_incumbent: bool = False
    #: Arguments of the training pipelines: {window_start}, {window_end}, {window_start-3m} are of
    #: the window that is judged, {data} is the version of the data.
    arguments: Mapping[str, str] = field(default_factory=dict)
    #: The metric that windows are won and lost by; without it the first that a check names.
    metric: str | None = None
    #: What must hold on the rows of all windows together.
    checks: tuple[str, ...] = ()
    #: In how many windows the candidate may be worse than the incumbent, interval and all.
    max_lost: int = 0


@dataclass(frozen=True)
class EvaluationDeclaration:
    """How a version of a model is proved: from the results of its prediction pipeline."""

    #: Prediction pipeline, and the output of it that holds the predictions table.
    pipeline: str
    #: Dataset that holds the truth, joined to the predictions by `keys`.
    data: str
    keys: tuple[str, ...]
    #: SQL expression over the dataset's columns: the truth. Rows where it is null are left out.
    label: str
    prediction: str
    output: str = "predictions"
    tag: str = "1.0.0"
    #: Of the label, in sentences ("min").
    unit: str = ""
    #: From which score on a row counts as predicted positive; by default the model's own.
    threshold: float | None = None
    slices: tuple[str, ...] = ()
    #: "prior" (base rate or mean of the training data) or columns to average the label over.
    baseline: tuple[str, ...] = ("prior",)
    checks: tuple[str, ...] = ()
    #: What must hold against the incumbent before a retrained candidate is released.
    against_incumbent: tuple[str, ...] = ()
    #: Arguments of the prediction pipeline when a candidate is compared: {version} is the model's,
    #: dates as in a trigger's arguments.
    arguments: Mapping[str, str] = field(default_factory=dict)
    #: What is predicted; told by the label and the checks where it is binary or a regression.
    task: Task | None = None
    #: Column whose values belong together, for intervals: the day of event time (`ds`), or of a
    #: ranking the query, unless another says what is independent; `rows` where each row is.
    block: str | None = None
    #: A slice with fewer rows has values and no intervals.
    min_rows: int = MIN_ROWS
    #: Name → a slice that no column holds.
    derived: Mapping[str, Derived] = field(default_factory=dict)
    #: Whether the worst slices are searched for: among what slices and derived ones are made of,
    #: the other columns of the predictions table, and pairs of all these.
    search: bool = False
    #: Name → what a row costs or brings.
    business: Mapping[str, BusinessMetric] = field(default_factory=dict)
    #: The baseline as an SQL expression over the rows: the rule that was there before the model,
    #: or a constant. In place of `baseline`.
    rule: str | None = None
    #: Class → column of its probability (multiclass).
    scores: Mapping[str, str] = field(default_factory=dict)
    #: Quantile → column of its forecast (forecasting).
    quantiles: Mapping[str, str] = field(default_factory=dict)
    #: Column that tells queries apart (ranking).
    query: str | None = None
    #: Columns that tell time series apart (forecasting).
    series: tuple[str, ...] = ()
    #: After how many rows a series repeats: 7 for days with a weekly pattern.
    season: int = 1
    #: Judged over windows of time, too.
    backtest: BacktestDeclaration | None = None

    def specification(self, threshold: float | None = None) -> EvaluationSpec:
        """`threshold`: the model's own, where none is declared. InvalidInput where parts do not
        fit together."""
        return EvaluationSpec(
            keys=self.keys,
            label=self.label,
            prediction=self.prediction,
            kind=self.task,
            threshold=threshold if self.threshold is None else self.threshold,
            slices=self.slices,
            block=self.block or (ROWS if self.task is Task.RANKING else DAY),
            baseline=self.baseline,
            checks=self.checks,
            against=self.against_incumbent,
            min_rows=self.min_rows,
            derived=self.derived,
            search=self.search,
            business=self.business,
            rule=self.rule,
            scores=self.scores,
            quantiles=self.quantiles,
            query=self.query,
            series=self.series,
            season=self.season,
        )
