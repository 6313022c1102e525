"""A file has one idea and at most 500 lines; a function at most 50."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "seamline"
FILES = sorted(SOURCE.rglob("*.py"))
SAYS_NOTHING = {"core", "common", "utils", "util", "helpers", "helper", "manager", "misc"}


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 50


def test_files_are_short() -> None:
    long = {
        str(path.relative_to(SOURCE)): lines
        for path in FILES
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert long == {}


def test_functions_are_short() -> None:
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > 50:
                    long[f"{path.relative_to(SOURCE)}:{node.name}"] = lines
    assert long == {}


def test_names_say_something() -> None:
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(SOURCE).parts}
    assert names & SAYS_NOTHING == set()


def test_no_global_statement_and_no_module_state_changes() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Global)
    ]
    assert found == []
