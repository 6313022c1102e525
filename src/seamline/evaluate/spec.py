"""How a version of a model is proved: from the results of its prediction pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.evaluate.business import BusinessMetric
from seamline.evaluate.derive import PAIR, By, Derived
from seamline.measure.evaluation.checks import Check, parse_check
from seamline.measure.evaluation.vocabulary import HIGHER_IS_BETTER, Rival, Task, tasks_of

#: The baseline that needs no column: the base rate, or the mean, of the training data.
PRIOR = "prior"

#: A slice with fewer rows has values and no intervals.
MIN_ROWS = 200
#: `block` where rows are independent of one another.
ROWS = "rows"
#: The day of event time: the column that every dataset has.
DAY = "ds"


@dataclass(frozen=True)
class EvaluationSpec:
    """`label`: an SQL expression over the truth's columns; rows where it is null are left out.

    `kind` None: told by the metrics that the checks name, else by the label (boolean is binary).
    `threshold`: from which score on a row counts as predicted positive (binary; default 0.5).
    `block`: the column whose values are resampled together, the day of event time; "rows" where
    rows are independent. `slices`: columns, `derived` names, or pairs of them (`origin*hour`).
    `against`: checks that only count where there is an incumbent to compare with.
    `rule`: the baseline as an SQL expression, in place of what `baseline` names.
    `scores`: class to column of its probability (multiclass); `quantiles`: quantile to column;
    `query`: the column that tells queries apart (ranking); `series`: columns that tell time series
    apart, whose season is `season` rows (forecasting).
    Raises InvalidInput when the parts do not fit together.
    """

    keys: tuple[str, ...]
    label: str
    prediction: str
    kind: Task | None = None
    threshold: float | None = None
    slices: tuple[str, ...] = ()
    block: str = DAY
    baseline: tuple[str, ...] = (PRIOR,)
    checks: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    min_rows: int = MIN_ROWS
    derived: Mapping[str, Derived] = field(default_factory=dict)
    search: bool = False
    business: Mapping[str, BusinessMetric] = field(default_factory=dict)
    rule: str | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    quantiles: Mapping[str, str] = field(default_factory=dict)
    query: str | None = None
    series: tuple[str, ...] = ()
    season: int = 1

    def __post_init__(self) -> None:
        if not self.keys:
            raise InvalidInput(
                "The evaluation has no keys to join predictions and truth by.",
                next_step='Name the columns that tell rows apart: keys = ["id"].',
            )
        if len(set(self.keys)) < len(self.keys):
            raise InvalidInput(
                f"A key stands twice among {', '.join(self.keys)}.", next_step="Name each once."
            )
        for check in (*self.parsed_checks, *self.parsed_against):
            if check.slice is not None and check.slice not in self.slices:
                raise InvalidInput(
                    f"Check {check.text!r}: {check.slice!r} is not one of the slices.",
                    next_step=nearest(check.slice, self.slices),
                )
        odd = [check.text for check in self.parsed_against if check.rival is not Rival.INCUMBENT]
        if odd:
            raise InvalidInput(
                f"Check {odd[0]!r} does not compare with the incumbent.",
                next_step="Write .vs(incumbent) or .drop_vs(incumbent), or move it to checks.",
            )
        self._check_names()
        self._check_parts()

    def _check_names(self) -> None:
        for name in self.derived:
            if not _NAME.fullmatch(name):
                raise InvalidInput(
                    f"A derived slice cannot be called {name!r}.",
                    next_step="Use letters, digits and _.",
                )
        for name in self.business:
            if not _NAME.fullmatch(name) or name in HIGHER_IS_BETTER:
                raise InvalidInput(
                    f"A business metric cannot be called {name!r}.",
                    next_step="Use letters, digits and _, and no name of a metric that exists.",
                )
        for name in self.slices:
            parts = name.split(PAIR)
            if len(parts) > 2 or not all(parts) or len(set(parts)) < len(parts):
                raise InvalidInput(
                    f"Slice {name!r} is no column and no pair of two.",
                    next_step="Write a column, a derived name, or two of them: origin*hour.",
                )

    def _check_parts(self) -> None:
        if self.threshold is not None and self.kind not in (None, Task.BINARY):
            raise InvalidInput(f"A {self.kind} task has no threshold.", next_step="Leave it out.")
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise InvalidInput(
                f"A threshold lies between 0 and 1, not at {self.threshold:g}.",
                next_step="Scores are probabilities: name the one from which a row is called.",
            )
        if self.season < 1:
            raise InvalidInput(
                f"A season has 1 row or more, not {self.season}.",
                next_step="Write 7 for days with a weekly pattern, or leave it out.",
            )
        if self.search and self.kind in (Task.MULTICLASS, Task.RANKING):
            raise InvalidInput(
                f"Worst slices are not searched for in a {self.kind} task.",
                next_step="Leave search out, and name slices.",
            )
        if self.min_rows < 1:
            raise InvalidInput(
                f"min_rows has to be 1 or more, not {self.min_rows}.",
                next_step=f"Leave it out for {MIN_ROWS}.",
            )
        for name, given, task in (
            ("scores", self.scores, Task.MULTICLASS),
            ("quantiles", self.quantiles, Task.FORECASTING),
            ("query", self.query, Task.RANKING),
            ("series", self.series, Task.FORECASTING),
        ):
            if given and self.kind is not task:
                raise InvalidInput(
                    f"{name} belongs to a {task} task.", next_step=f'Write task = "{task}".'
                )
        if self.kind is Task.RANKING and self.query is None:
            raise InvalidInput(
                "A ranking is judged per query, and none is named.",
                next_step='Name the column that tells queries apart: query = "session".',
            )
        for level in self.quantiles:
            if not _is_share(level):
                raise InvalidInput(
                    f"{level!r} is no quantile.", next_step='Write quantiles = { "0.9" = "q90" }.'
                )

    @property
    def own(self) -> dict[str, bool | None]:
        """Whether more is better, of the team's own metrics."""
        return {name: metric.higher_is_better for name, metric in self.business.items()}

    @property
    def parsed_checks(self) -> tuple[Check, ...]:
        return tuple(parse_check(text, self.own) for text in self.checks)

    @property
    def parsed_against(self) -> tuple[Check, ...]:
        return tuple(parse_check(text, self.own) for text in self.against)

    def with_checks(self, checks: tuple[str, ...], against: tuple[str, ...]) -> EvaluationSpec:
        return replace(self, checks=checks, against=against)

    def to_json(self) -> dict[str, Any]:
        """Without what is not asked for, so that evidence of earlier versions reads the same."""
        plain: dict[str, Any] = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.__dict__.items()
        }
        for name in ("derived", "business"):
            plain[name] = {key: asdict(one) for key, one in plain[name].items()}
        for one in fields(self)[_FIRST_OPTIONAL:]:
            if getattr(self, one.name) == _default_of(one):
                del plain[one.name]
        return plain | {"kind": None if self.kind is None else str(self.kind)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EvaluationSpec:
        known = {field.name for field in fields(cls)}
        odd = sorted(set(data) - known)
        if odd:
            raise InvalidInput(
                f"An evaluation has no setting {odd[0]!r}.", next_step=nearest(odd[0], known)
            )
        read: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        if data.get("kind") is not None:
            read["kind"] = Task(data["kind"])
        if "derived" in data:
            read["derived"] = {
                name: Derived(one["column"], By(one["by"]), one["bins"])
                for name, one in data["derived"].items()
            }
        if "business" in data:
            read["business"] = {
                name: BusinessMetric(**one) for name, one in data["business"].items()
            }
        return cls(**read)


#: Fields before this one are always written.
_FIRST_OPTIONAL = 10
_NAME = re.compile(r"[A-Za-z_]\w*")


def _default_of(one: Field[Any]) -> object:
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _is_share(text: str) -> bool:
    try:
        return 0 < float(text) < 1
    except ValueError:
        return False


def decide_kind(spec: EvaluationSpec, label_is_boolean: bool) -> Task:
    """
    >>> spec = EvaluationSpec(("id",), "arr_delay > 15", "score")
    >>> decide_kind(spec, label_is_boolean=True)
    <Task.BINARY: 'binary'>
    >>> spec = EvaluationSpec(("id",), "late", "score", checks=("auc >= 0.7",))
    >>> decide_kind(spec, label_is_boolean=False)
    <Task.BINARY: 'binary'>
    >>> decide_kind(EvaluationSpec(("id",), "air_time", "minutes"), label_is_boolean=False)
    <Task.REGRESSION: 'regression'>
    """
    if spec.kind is not None:
        return spec.kind
    named = [check.metric for check in (*spec.parsed_checks, *spec.parsed_against)]
    known = [metric for metric in named if metric not in spec.business]
    if not known:
        return Task.BINARY if label_is_boolean else Task.REGRESSION
    fitting = tasks_of(known)
    if not fitting:
        first = known[0]
        other = next(one for one in known if not tasks_of([first, one]))
        raise InvalidInput(
            f"No task has both {first} and {other}.",
            next_step="An evaluation has one label: keep the checks of one kind.",
        )
    # Multiclass, ranking and forecasting are declared; what is not is one of the two usual ones.
    usual = [task for task in (Task.BINARY, Task.REGRESSION) if task in fitting]
    if usual:
        return usual[0]
    raise InvalidInput(
        f"{known[0]} is a metric of a {fitting[0]} task.",
        next_step=f'Say so: task = "{fitting[0]}".',
    )
