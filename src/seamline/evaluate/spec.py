"""How a version of a model is proved: from the results of its prediction pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.measure.checks import Check, parse_check
from seamline.measure.vocabulary import Rival, Task

#: The baseline that needs no column: the base rate, or the mean, of the training data.
PRIOR = "prior"

BINARY_METRICS = ("auc", "f1", "precision", "recall", "accuracy", "brier", "log_loss", "base_rate")
REGRESSION_METRICS = ("mae", "rmse", "bias")


@dataclass(frozen=True)
class EvaluationSpec:
    """`label`: an SQL expression over the truth's columns; rows where it is null are left out.

    `kind` None: told by the metrics that the checks name, else by the label (boolean is binary).
    `threshold`: from which score on a row counts as predicted positive (binary; default 0.5).
    `block`: the column whose values are resampled together, the day of event time.
    `against`: checks that only count where there is an incumbent to compare with.
    Raises InvalidInput when the parts do not fit together.
    """

    keys: tuple[str, ...]
    label: str
    prediction: str
    kind: Task | None = None
    threshold: float | None = None
    slices: tuple[str, ...] = ()
    block: str = "ds"
    baseline: tuple[str, ...] = (PRIOR,)
    checks: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.keys:
            raise InvalidInput(
                "The evaluation has no keys to join predictions and truth by.",
                next_step='Name the columns that tell rows apart: keys = ["id"].',
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
        if self.threshold is not None and self.kind is Task.REGRESSION:
            raise InvalidInput("A regression has no threshold.", next_step="Leave it out.")

    @property
    def parsed_checks(self) -> tuple[Check, ...]:
        return tuple(parse_check(text) for text in self.checks)

    @property
    def parsed_against(self) -> tuple[Check, ...]:
        return tuple(parse_check(text) for text in self.against)

    def to_json(self) -> dict[str, Any]:
        plain = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self.__dict__.items()
        }
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
        return cls(**read)


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
    named = {check.metric for check in (*spec.parsed_checks, *spec.parsed_against)}
    binary = sorted(named.intersection(BINARY_METRICS))
    regression = sorted(named.intersection(REGRESSION_METRICS))
    if binary and regression:
        raise InvalidInput(
            f"The checks name {binary[0]}, of a binary label, and {regression[0]}, of a number.",
            next_step="An evaluation has one label: keep the checks of one kind.",
        )
    if binary or regression:
        return Task.BINARY if binary else Task.REGRESSION
    return Task.BINARY if label_is_boolean else Task.REGRESSION
