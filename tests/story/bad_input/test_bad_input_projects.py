"""A seamline.toml with something wrong in it: points at the line, names the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TOP = 'project = "other"\nteam = "other"\n'
DATASET = TOP + '[datasets.visits]\ntime = "day"\n'

FILES = {
    DATASET + 'kees = ["day"]\n': "5: datasets.visits has no key 'kees'. Did you mean keys?",
    DATASET + 'keys = "day"\n': "5: datasets.visits.keys has to be a list, not 'day'.",
    TOP + '[datsets.visits]\ntime = "day"\n': "3: there is no section or key 'datsets'. "
    "Did you mean datasets?",
    'proect = "a"\n': "1: there is no section or key 'proect'. Did you mean project?",
    "": '1: project is missing. Add project = "…" at the top.',
    TOP + '[datasets.visits]\npartition = "event"\n': "3: Dataset visits has to say which day "
    "a row belongs to.",
    TOP + '[models.m]\npipeline = "p"\noutput = "model"\nsamples = "t.s"\n': "5: models.m.output "
    "has to be 'task.output', not 'model'.",
    TOP + '[models.m]\npipeline = "p"\n': "3: models.m",
    TOP + '[deployments.m]\nmodel = "ice-crem"\n': "4: deployments.m.model: there is no model "
    "'ice-crem'.",
    TOP
    + "[environments.qa]\napprovals = { count = -3 }\n": "4: environments.qa.approvals.count has "
    "to be 1 or more, not -3.",
    TOP + '[environments.qa]\napprovals = { roles = ["boss"] }\n': "4: "
    "environments.qa.approvals.roles: 'boss' is not known.",
    TOP + '[environments.qa]\nsoak = "soon"\n': "4: 'soon' is not a duration.",
    TOP + '[datasets."../x"]\ntime = "day"\n': "3: '../x' cannot be a name.",
    TOP + '[monitors.m]\ndeployment = "ice-cream"\nchecks = ["maee < 1"]\n': "5: Check 'maee < 1', "
    "character 1: there is no metric 'maee'. Did you mean mae?",
    TOP + "x = \n": " Invalid value (at line 3, column 5). It is not TOML as it stands.",
    TOP + 'team = "b"\n': " Cannot overwrite a value (at line 3, column 11).",
    "a = " + "[" * 100_000: " ",
}


@pytest.mark.parametrize("text", FILES, ids=range(len(FILES)))
def test_bad_input_project_files_point_at_the_line(kiosk: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "seamline.toml"
    path.write_text(text)
    with kiosk.untouched():
        for verb in ("plan", "apply"):
            said = kiosk.person.is_refused(verb, str(path))
            assert said.startswith(f"invalid_input: {path}:{FILES[text]}"), said[:400]


def test_bad_input_what_another_project_owns(kiosk: Any, tmp_path: Path) -> None:
    path = tmp_path / "seamline.toml"
    for section in ('[datasets.sales]\ntime = "day"\n', "[environments.qa]\n"):
        path.write_text(TOP + section)
        with kiosk.untouched():
            said = kiosk.person.is_refused("apply", str(path))
        assert said.startswith("refused: ")
        assert "belongs to the project 'kiosk'." in said


def test_bad_input_environments_that_lead_in_a_circle(person: Any) -> None:
    for after, sentence in (
        ("qa", "environments.qa: its chain of `after` leads back to 'qa'."),
        ("nowhere", "environments.qa: after = 'nowhere' is no environment."),
    ):
        text = f'{TOP}[environments.dataops]\n[environments.qa]\nafter = "{after}"\n'
        (person.folder / "seamline.toml").write_text(text)
        assert person.is_refused("apply").startswith(f"invalid_input: {sentence}")


def test_bad_input_files_that_are_not_there_or_not_text(kiosk: Any, tmp_path: Path) -> None:
    path = tmp_path / "seamline.toml"
    assert kiosk.person.is_refused("apply", str(path)) == (
        f"invalid_input: {path} cannot be read: No such file or directory."
    )
    path.write_bytes(b"\xff\xfe\x00")
    assert kiosk.person.is_refused("apply", str(path)).startswith(
        f"invalid_input: {path} cannot be read: "
    )
