from __future__ import annotations

from pathlib import Path

import pytest

from seamline.app.declarations import ApprovalDeclaration
from seamline.domain.errors import InvalidInput
from seamline.domain.states import Role
from seamline.project.file import read_project_file
from seamline.promote.policy import Party

EXAMPLES = Path(__file__).parents[3] / "examples" / "flights"
HEAD = 'project = "p"\nteam = "t"\n'


@pytest.mark.parametrize("team", ["platform", "punctuality", "operations", "orchestrator"])
def test_the_examples_read(team: str) -> None:
    text = (EXAMPLES / team / "seamline.toml").read_text()
    assert read_project_file(text).team


def test_values_are_typed() -> None:
    file = read_project_file(
        HEAD + '[environments.dataops]\n[environments.production]\nafter = "dataops"\n'
        'approvals = { count = 2, roles = ["approver"], not = ["trainer"] }\nsoak = "24h"\n'
        '[datasets.flights]\ndate = ["y", "m", "d"]\n'
    )
    production = file.declarations.environments["production"]
    assert production.approvals == ApprovalDeclaration(2, (Role.APPROVER,), (Party.TRAINER,))
    assert file.declarations.dataset("flights").date == ("y", "m", "d")


MODEL = '[models.m]\npipeline = "p"\noutput = "each/train.model"\nsamples = "train.rows"\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[enviroments.a]\n", 3, "Did you mean environments?"),
        ("[environments.a]\napprovels = {}\n", 4, "Did you mean approvals?"),
        ("[environments.a]\n\napprovals = 1\n", 5, "environments.a.approvals has to be a table"),
        ('[environments.a]\n\napprovals = { count = "one" }\n', 5, "a whole number"),
        ('[environments.a]\napprovals = { roles = ["aprover"] }\n', 4, "Did you mean approver?"),
        ('[environments.a]\napprovals = { nott = ["trainer"] }\n', 4, "Did you mean not?"),
        ('[environments.a]\nwindows = ["mon-fry 08:00-12:00 UTC"]\n', 4, "'fry' is no day"),
        ('[environments.a]\nwindows = ["mon 08:00-12:00 Europe/Pari"]\n', 4, "Europe/Paris?"),
        ('[environments.a]\nfidelity = "containr"\n', 4, "Did you mean container?"),
        ("[environments.a]\nmin_successes = 0\n", 4, "has to be 1 or more, not 0"),
        ("[environments.a]\nwarm = -1\n", 4, "has to be 0 or more, not -1"),
        ('[environments.a.external.board]\nurl = "board"\n', 4, "has to be an http(s) address"),
        ('[environments.a.break_glass]\nlongest = "soon"\n', 4, "is not a duration"),
        ('[environments.a]\nsoak = "1 day"\n', 4, "Write a number and s, m, h or d"),
        ("[environments.A_B]\n", 3, "cannot be a name"),
        ('[models.m]\npipeline = "p"\noutput = "train.model"\n', 3, "lacks the key 'samples'"),
        (
            '[models.m]\npipeline = "p"\noutput = "model"\nsamples = "a.b"\n',
            5,
            "has to be 'task.output'",
        ),
        (
            '[monitors.m]\ndeployment = "d"\nchecks = ["auk >= 0.7"]\n',
            5,
            "Did you mean auc?",
        ),
        ('[monitors.m]\ndeployment = "d"\nwindow = "year"\n', 5, "day, week or month"),
        ("[teams.t]\nslots = 0\n", 4, "has to be 1 or more, not 0"),
        ("[teams.t]\nslot = 2\n", 4, "Did you mean slots?"),
        ("[teams.t]\n", 3, "lacks the key 'slots'"),
        ("[teams.t]\nslots = true\n", 4, "a whole number"),
        ("[datasets.d]\npartition = 'event'\n", 3, "which day a row belongs to"),
        (f"{MODEL}per = ['a', 'a']\n", 7, "models.m.per has to name different fields"),
        (f"{MODEL}per = ['a', '']\n", 7, "models.m.per has to name different fields"),
        (f"{MODEL}per = 'a'\n", 7, "models.m.per has to be a list"),
        (f"{MODEL}profile = 'each[3]/train.rows'\n", 7, "names one round of a loop. Leave the"),
        (f"{MODEL}profile = 'train.'\n", 7, "has to be 'task.output'"),
    ],
)
def test_errors_point_at_the_line(text: str, line: int, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_project_file(HEAD + text, "shop/seamline.toml")
    assert str(caught.value).startswith(f"shop/seamline.toml:{line}: ")
    assert words in str(caught.value)


def test_not_toml_and_no_project() -> None:
    with pytest.raises(InvalidInput, match=r"seamline\.toml"):
        read_project_file("project = ")
    with pytest.raises(InvalidInput, match="project is missing"):
        read_project_file('team = "t"\n')
