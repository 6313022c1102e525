"""`[models.NAME.evaluation]` and files of own checks: what is read, and what is pointed at."""

from __future__ import annotations

import pytest

from seamline.domain.errors import InvalidInput
from seamline.evaluate.business import BusinessMetric
from seamline.evaluate.derive import By, Derived
from seamline.measure.evaluation.vocabulary import Task
from seamline.project.evaluations import read_evaluation_file
from seamline.project.file import read_project_file

HEAD = """project = "p"
team = "t"
[models.m]
pipeline = "p"
output = "each/train.model"
samples = "train.rows"
[models.m.evaluation]
pipeline = "predict"
data = "d"
keys = ["id"]
label = "late"
prediction = "score"
"""


def test_everything_that_can_be_declared_reads() -> None:
    file = read_project_file(
        HEAD
        + 'block = "week"\nmin_rows = 50\nsearch = true\nrule = "hour > 5"\n'
        + 'slices = ["weekday", "origin*weekday"]\n'
        + 'checks = ["auc >= 0.7", "cost.worst_slice(origin*weekday) <= 3", "recall@0.35 >= 0.5"]\n'
        + 'derived = { weekday = { column = "at", by = "weekday" } }\n'
        + 'business = { cost = { sql = "label * 2", higher_is_better = false } }\n'
        + '[models.m.evaluation.backtest]\nwindow = "week"\nretrain = true\n'
        + 'arguments = { until = "{window_start}" }\nchecks = ["cost <= 3"]\n'
    )
    declared = file.declarations.model("m").evaluation
    assert declared is not None and declared.backtest is not None
    spec = declared.specification(0.4)
    assert (spec.block, spec.min_rows, spec.search, spec.threshold) == ("week", 50, True, 0.4)
    assert spec.derived == {"weekday": Derived("at", By.WEEKDAY)}
    assert spec.business == {"cost": BusinessMetric("label * 2", False)}
    assert declared.backtest.window == "week" and declared.backtest.max_lost == 0


def test_blocks_are_days_and_of_a_ranking_queries() -> None:
    plain = read_project_file(HEAD).declarations.model("m").evaluation
    assert plain is not None and plain.specification().block == "ds"
    text = HEAD + 'task = "ranking"\nquery = "session"\n'
    ranking = read_project_file(text).declarations.model("m").evaluation
    assert ranking is not None
    assert (ranking.task, ranking.specification().block) == (Task.RANKING, "rows")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('checks = ["auk >= 0.7"]\n', 13, "character 1: there is no metric 'auk'"),
        ('checks = ["auc.worst_slise(hour) >= 0.7"]\n', 13, "Did you mean worst_slice?"),
        ('slices = ["hour"]\nchecks = ["auc.worst_slice(our) >= 0.7"]\n', 7, "Did you mean hour?"),
        ('against_incumbent = ["auc >= 0.7"]\n', 7, "does not compare with the incumbent"),
        ('task = "binery"\n', 13, "Did you mean binary?"),
        ('[models.m.evaluation.derived.h]\ncolumn = "at"\nby = "our"\n', 15, "Did you mean hour?"),
        ('[models.m.evaluation.derived.h]\ncolumn = "at"\n', 13, "lacks the key 'by'"),
        ('[models.m.evaluation.business.auc]\nsql = "label"\n', 7, "cannot be called 'auc'"),
        ('[models.m.evaluation.backtest]\nwindow = "year"\n', 14, "has to be day, week or month"),
        ("[models.m.evaluation.backtest]\nwindows = 1\n", 14, "has to be 2 to 100, not 1"),
        ("[models.m.evaluation.backtest]\nretrain = true\n", 13, "no argument says on what"),
        (
            "[models.m.evaluation.backtest]\nretrain_incumbent = true\n"
            'arguments = { seed = "1" }\n',
            13,
            "no argument says on what",
        ),
        ('[models.m.evaluation.backtest]\nchecks = ["auk > 1"]\n', 14, "Did you mean auc?"),
    ],
)
def test_what_is_wrong_is_pointed_at(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_project_file(HEAD + text)
    said = f"{caught.value.message} {caught.value.next_step}"
    assert said.startswith(f"seamline.toml:{line}: "), said
    assert words in said


YAML = """pipeline: predict
data: d
keys: [id]
label: late
prediction: score
min_rows: 50
search: true
derived:
  band: {column: price, by: bins, bins: 4}
slices: [band]
checks:
  - auc >= 0.7
"""


def test_a_file_of_own_checks_is_yaml_or_toml() -> None:
    declared = read_evaluation_file(YAML, "mine.yaml")
    assert (declared.min_rows, declared.search, declared.checks) == (50, True, ("auc >= 0.7",))
    assert declared.derived == {"band": Derived("price", By.BINS, 4)}
    toml = 'pipeline = "p"\ndata = "d"\nkeys = ["id"]\nlabel = "l"\nprediction = "s"\n'
    assert read_evaluation_file(toml, "mine.toml").label == "l"


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("auc >= 0.7", "auk >= 0.7", 11, "Did you mean auc?"),
        ("by: bins", "by: bin", 9, "Did you mean bins?"),
        ("min_rows", "min_row", 6, "Did you mean min_rows?"),
        ("min_rows: 50", "min_rows: many", 6, "has to be a whole number"),
        ("label: late\n", "", 1, "lacks the key 'label'"),
        ("keys: [id]", "keys: [id", 4, ""),
    ],
)
def test_a_file_of_own_checks_points_at_its_line(old: str, new: str, line: int, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_evaluation_file(YAML.replace(old, new), "mine.yaml")
    said = f"{caught.value.message} {caught.value.next_step}"
    assert said.startswith(f"mine.yaml:{line}: "), said
    assert words in said
