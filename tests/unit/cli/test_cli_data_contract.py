"""`seamline data contract check`: a file held to a contract, without a server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from seamline.cli.data_contract import contract
from seamline.cli.project import contract_paths

CONTRACT = """
rows: {at_least: 2}
columns:
  id: {type: int, nullable: false}
  hour: {type: int, at_most: 23, on_breach: warn}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, Path]:
    path = tmp_path / "calls.yaml"
    path.write_text(CONTRACT)
    return str(path), tmp_path / "calls.csv"


def test_a_file_that_keeps_it_is_exit_code_0(files: tuple[str, Path]) -> None:
    file, data = files
    data.write_text("id,hour\n1,5\n2,-\n")
    found = CliRunner().invoke(contract, ["check", file, str(data), "--null", "-"])
    assert (found.exit_code, found.output) == (
        *(0, "calls.csv: 2 rows, 0 rules of calls.yaml broken\n"),
    )


def test_a_file_that_breaks_it_is_exit_code_1_and_says_what(files: tuple[str, Path]) -> None:
    file, data = files
    data.write_text("id,hour\nx,24\n")
    found = CliRunner().invoke(contract, ["check", file, str(data)])
    assert found.exit_code == 1
    assert found.output.splitlines() == [
        "refuse: id: 1 of 1 values are not int, e.g. 'x'.",
        "warn: hour: 1 of 1 values are out of range (at most 23), e.g. '24'.",
        "refuse: rows: 1 came; at least 2 are expected (2 at least).",
        "calls.csv: 1 rows, 3 rules of calls.yaml broken",
    ]
    told = CliRunner().invoke(contract, ["check", file, str(data), "--json"])
    assert [one["kind"] for one in json.loads(told.output)["violations"]] == [
        *("mistyped", "out_of_range", "row_count"),
    ]


def test_what_cannot_be_read_is_no_breach(files: tuple[str, Path]) -> None:
    file, data = files
    data.write_text("id,hour\n1,5\n")
    Path(file).write_text(CONTRACT.replace("at_most", "atmost"))
    found = CliRunner().invoke(contract, ["check", file, str(data)])
    assert found.exit_code == 2
    assert "calls.yaml:5: columns.hour has no key 'atmost'" in found.output


def test_the_files_that_a_project_names_are_found() -> None:
    text = '[datasets.a]\ncontract = "a.yaml"\n[datasets.b]\n[datasets.c]\ncontract = "a.yaml"\n'
    assert contract_paths(text) == ["a.yaml"]
    assert contract_paths("[broken") == contract_paths("datasets = 3") == []
