"""A run in the command's own process: breakpoints listen to whoever started it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output

from seamline.app.train.debug_run import CallersThread, Watcher, debug_run
from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.domain.clock import SystemClock
from seamline.domain.errors import Refused, Unavailable
from seamline.domain.settings import Settings
from seamline.domain.states import Fidelity
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.outcomes import TaskEnd
from seamline.runtime.specs import TaskKind, TaskSpec
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import open_stores
from seamline.train.admission import check_pipeline
from seamline.train.attempts.machine import Machine
from seamline.train.options import Isolation, RunOptions
from seamline.train.runs import list_runs

IMAGE = "python:3.11"
PROGRAM = str(Path(sys.executable).with_name("seamline"))


@dsl.component(base_image=IMAGE)
def load(n: int, rows: Output[Dataset]) -> int:
    from pathlib import Path

    Path(rows.path).write_text("x" * n)
    return n


@dsl.component(base_image=IMAGE)
def fit(rows: Input[Dataset]) -> int:
    import os
    from pathlib import Path

    size = len(Path(rows.path).read_text())
    breakpoint()
    print("fitted", size, "in", os.getpid())
    return size


@dsl.component(base_image=IMAGE)
def check(n: int):
    if n != 3:
        raise ValueError(f"{n} is not 3")


@dsl.component(base_image=IMAGE, packages_to_install=["no-such-package==1"])
def needy():
    pass


@dsl.component(base_image=IMAGE)
def interrupt():
    import os
    import signal

    os.kill(os.getpid(), signal.SIGINT)


@dsl.pipeline
def small(n: int = 3):
    loaded = load(n=n)
    check(n=fit(rows=loaded.outputs["rows"]).output)


@dsl.pipeline
def lacking():
    needy()


@dsl.pipeline
def stopped():
    check(n=3).after(interrupt())


@dsl.component(base_image=IMAGE)
def count(rows: Input[Dataset]) -> int:
    from pathlib import Path

    return len(list(Path(rows.path).rglob("*.parquet")))


@dsl.pipeline
def reading(data: str) -> int:
    found = dsl.importer(artifact_uri=data, artifact_class=dsl.Dataset, reimport=False)
    return count(rows=found.output).output


@pytest.fixture
def compile_ir(tmp_path: Path) -> Callable[..., bytes]:
    def compile_it(pipeline: Any) -> bytes:
        path = tmp_path / "compiled.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_bytes()

    return compile_it


Debug = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def debug(tmp_path: Path) -> Debug:
    def run(pipeline: Any, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
        environ = {name: text for name, text in os.environ.items() if "SEAMLINE" not in name}
        return subprocess.run(
            [PROGRAM, "run", "debug", "pipeline.yaml", *words],
            input=typed, capture_output=True, text=True, cwd=tmp_path, env=environ, timeout=120,
        )  # fmt: skip

    return run


def test_a_breakpoint_can_change_what_comes_out(debug: Debug, tmp_path: Path) -> None:
    done = debug(small, "-a", "n=5", typed="p size\nsize = 3\ncontinue\n")
    assert done.returncode == 0, done.stderr
    assert "(Pdb) 5" in done.stdout
    assert "fitted 3 in" in done.stdout
    assert "succeeded after" in done.stdout and "ran as      in process" in done.stdout
    assert [line for line in done.stderr.splitlines() if line.endswith(" ──")][:1] == ["── load ──"]
    assert {one.name for one in tmp_path.iterdir()} == {"pipeline.yaml"}, "nothing is left behind"


def test_what_is_kept_says_how_it_ran(debug: Debug, tmp_path: Path) -> None:
    done = debug(small, "--keep", "kept", "--json", typed="continue\n")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fidelity"] == Fidelity.IN_PROCESS
    assert {one["fidelity"] for one in found["tasks"]} == {Fidelity.IN_PROCESS}
    assert len({one["pid"] for one in found["tasks"]}) == 1
    assert f"seamline --workspace kept run show {found['id']}" in done.stderr
    assert "fitted 3" in done.stderr, "what tasks print is no JSON"
    shown = subprocess.run(
        [PROGRAM, "--workspace", "kept", "run", "show", found["id"], "--json"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert json.loads(shown.stdout)["options"]["isolation"] == "in_process"


def test_a_failure_can_be_looked_into(debug: Debug) -> None:
    done = debug(small, "-a", "n=4", "--pdb", typed="continue\np n * 100\nq\n")
    assert done.returncode == 1
    assert "(Pdb) 400" in done.stdout
    assert "check: ValueError: 4 is not 3" in done.stdout


@pytest.mark.parametrize(("pipeline", "typed"), [(small, "q\n"), (stopped, "")])
def test_who_has_seen_enough_ends_all_of_it(debug: Debug, pipeline: Any, typed: str) -> None:
    done = debug(pipeline, typed=typed)
    assert done.returncode == 1, done.stderr
    assert "── check ──" not in done.stderr
    assert "Traceback" not in done.stdout


def test_what_this_interpreter_lacks_is_named(debug: Debug) -> None:
    done = debug(lacking)
    assert done.returncode == 1
    assert "Refused: Python 3.11 with no-such-package==1 is needed" in done.stdout


def test_bad_arguments_are_refused_before_anything_runs(debug: Debug) -> None:
    assert debug(small, "-a", "n=x").stderr.startswith("invalid_input: Parameter 'n' has to be")


def test_datasets_are_read_from_the_workspace_and_nothing_is_written_there(
    compile_ir: Callable[..., bytes], tmp_path: Path
) -> None:
    settings = Settings(workspace=tmp_path / "workspace")
    sales = tmp_path / "sales.csv"
    sales.write_text("day,id,sold\n2026-05-01,1,7\n2026-05-02,2,8\n")
    stores = open_stores(settings.workspace, SystemClock())
    declaration = DatasetDeclaration("sales", time="day", keys=("id",))
    ingest(stores, declaration, sales, source="sales.csv", by="ana")
    told: list[str] = []

    def run(folder: str, uri: str) -> dict[str, Any]:
        watcher = Watcher(told.append, lambda outcome: told.append(outcome.end))
        given: dict[str, Any] = {"arguments": {"data": uri}, "texts": {}, "watcher": watcher}
        return debug_run(settings, tmp_path / folder, compile_ir(reading), **given)

    found = run("first", "datasets://sales")
    assert found["outputs"]["parameters"] == {"Output": 2}
    assert told == [f"{found['id']}/count#1", TaskEnd.SUCCEEDED]
    assert found["tasks"][0]["inputs"]["artifacts"] == {}
    mistyped = run("second", "datasets://sale")
    assert mistyped["state"] == "failed" and "Did you mean sales?" in mistyped["sentence"]
    assert list_runs(stores) == []
    stores.db.close()
    none = debug_run(
        Settings(workspace=tmp_path / "none"),
        tmp_path / "third",
        compile_ir(reading),
        arguments={"data": "datasets://sales"},
        texts={},
        watcher=Watcher(told.append, lambda outcome: None),
    )
    assert "there is none. Name it: seamline --workspace FOLDER" in none["sentence"]
    assert not (tmp_path / "none").exists()


def test_a_server_refuses_to_run_tasks_in_its_own_process(
    compile_ir: Callable[..., bytes],
) -> None:
    ir = compile_ir(small)
    options = RunOptions(isolation=Isolation.IN_PROCESS)
    with pytest.raises(Refused, match="inside of its own process"):
        check_pipeline(ir, options, Machine({}))
    check_pipeline(ir, options, Machine({}, in_process=True))


def test_what_waits_when_the_run_is_ended_is_let_go(tmp_path: Path) -> None:
    clock = SystemClock()
    host = PythonEnvironment(Path(sys.executable), "sha256:0", (), is_host=True)
    spec = TaskSpec("r/t#1", TaskKind.KFP, tmp_path / "s", tmp_path / "i", tmp_path,
                    tmp_path / "log", host)  # fmt: skip
    watcher = Watcher(lambda _: None, lambda _: None)
    with TaskRunner(clock, tmp_path / "run") as others:
        thread = CallersThread(others, clock, watcher)
        waiting = thread.start(spec)
        thread.kill(spec.task_id)
        assert not waiting.done()
        thread.close()
        assert waiting.result(timeout=0).end is TaskEnd.CANCELED
        with pytest.raises(Unavailable, match="was ended"):
            thread.start(spec)
        assert thread.serve(lambda: True)
