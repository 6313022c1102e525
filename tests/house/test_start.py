"""The command line starts fast because it loads little: counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields

import pytest

from seamline.domain.settings import Settings

HEAVY = {"kfp", "numpy", "polars", "pyarrow", "sqlalchemy", "starlette", "fastapi", "mlflow"}
COUNT = """
import sys, json, contextlib, io
sys.argv = ["seamline", *{arguments!r}]
from seamline.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
print(json.dumps(sorted(sys.modules)))
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["status"], ["run", "--help"]])
def test_modules_loaded(arguments: list[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", COUNT.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    modules = json.loads(found.stdout.splitlines()[-1])
    assert len(modules) <= 250
    assert {name.partition(".")[0] for name in modules} & HEAVY == set()


def test_few_settings() -> None:
    assert len(fields(Settings)) <= 15
