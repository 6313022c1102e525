"""A task in this very process, as a person debugs it."""

from __future__ import annotations

import json
import logging
import os
import pdb
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.errors import Refused
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.in_process import run_in_process
from seamline.runtime.tasks import Limits, TaskEnd, TaskKind, TaskSpec

MakeScript = Callable[..., TaskSpec]


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Tasks seed `random`; tests after these ones see what they would have seen."""
    random.seed(1)


def test_it_runs_here_and_leaves_no_trace(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    source = """
    import logging, os, signal, sys
    def main(payload):
        print("hello from", os.getpid())
        os.environ["LEFT"] = "behind"
        sys.path.append("left")
        logging.getLogger("mine").setLevel(5)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        return {"x": payload["x"] + 1, "colour": os.environ["COLOUR"], "cwd": os.getcwd()}
    """
    before = (str(Path.cwd()), dict(os.environ), list(sys.path), list(sys.argv))
    spec = script("t", source, {"x": 1}, env={"COLOUR": "red"}, limits=Limits(memory_bytes=1))
    outcome = run_in_process(spec, SystemClock())
    assert outcome.end is TaskEnd.SUCCEEDED
    assert outcome.process is not None
    assert outcome.process.pid == os.getpid()
    assert spec.output_path is not None
    found = json.loads(spec.output_path.read_text())
    assert found == {"x": 2, "colour": "red", "cwd": str(spec.work_dir)}
    assert capsys.readouterr().out == f"hello from {os.getpid()}\n"
    assert before == (str(Path.cwd()), dict(os.environ), list(sys.path), list(sys.argv))
    assert logging.getLogger("mine").level == logging.NOTSET
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert "seamline_task" not in sys.modules
    assert not spec.log_path.exists()


def test_an_error_is_an_outcome_and_can_be_looked_into(
    script: MakeScript, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "def main(payload):\n    divisor = payload['x']\n    return {'x': 1 / divisor}\n"
    spec = script("t", source, {"x": 0})
    seen = []

    def look(error: BaseException) -> None:
        frame = pdb.Pdb()
        frame.reset()
        stack, index = frame.get_stack(None, error.__traceback__)
        seen.append((stack[index][0].f_locals["divisor"], str(Path.cwd())))

    outcome = run_in_process(spec, SystemClock(), look)
    assert (outcome.end, outcome.exit_code) == (TaskEnd.FAILED, 1)
    assert outcome.error is not None
    assert outcome.error.type == "ZeroDivisionError"
    assert "return {'x': 1 / divisor}" in outcome.error.traceback
    assert seen == [(0, str(spec.work_dir))]
    assert Path.cwd() != spec.work_dir
    assert capsys.readouterr().err == outcome.error.traceback


_DEBUGGED = """
import sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.in_process import run_in_process
from seamline.runtime.tasks import TaskKind, TaskSpec
folder = Path(sys.argv[1])
host = PythonEnvironment(Path(sys.executable), "sha256:0", (), is_host=True)
spec = TaskSpec("t", TaskKind.KFP, folder / "ephemeral_component.py", folder / "input.json",
                folder, folder / "log", host, function="step")
print("ended:", run_in_process(spec, SystemClock()).end.value)
"""
_STEP = """
    import kfp
    from kfp import dsl
    from kfp.dsl import *
    def step(number: int) -> int:
        doubled = number * 2
        breakpoint()
        return doubled
"""


def test_a_breakpoint_of_a_component_listens_to_the_terminal(tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    (tmp_path / "ephemeral_component.py").write_text(textwrap.dedent(_STEP))
    outputs = {
        "parameters": {"Output": {"outputFile": str(tmp_path / "Output")}},
        "outputFile": str(tmp_path / "out.json"),
    }
    given = {"inputs": {"parameterValues": {"number": 4}}, "outputs": outputs}
    (tmp_path / "input.json").write_text(json.dumps(given))
    found = subprocess.run(
        [sys.executable, "-c", _DEBUGGED, str(tmp_path)],
        input="p doubled\nlist\ndoubled = 9\ncontinue\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "(Pdb) 8" in found.stdout
    assert "->" in found.stdout and "return doubled" in found.stdout
    assert "ended: succeeded" in found.stdout, found.stderr
    output = json.loads((tmp_path / "out.json").read_text())
    assert output == {"parameterValues": {"Output": 9}}


def test_what_cannot_run_here_is_refused(script: MakeScript) -> None:
    spec = script("t", "def main(payload): return {}")
    with pytest.raises(Refused, match="is a command"):
        run_in_process(replace(spec, kind=TaskKind.COMMAND), SystemClock())
    other = PythonEnvironment(Path(sys.executable), "sha256:0", ("a==1",), is_host=False)
    with pytest.raises(Refused, match="needs packages that this interpreter does not have"):
        run_in_process(replace(spec, environment=other), SystemClock())
