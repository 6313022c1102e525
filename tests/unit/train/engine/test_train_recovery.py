"""kill -9 of the process that runs the engine: nothing is lost, nothing is done twice (law 8)."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from kfp import dsl
from sqlalchemy import text
from tests.waiting import wait_until

from seamline.domain.states import TaskState
from seamline.runtime.processes import identity_of, is_alive
from seamline.train.engine.engine import Engine
from seamline.train.options import RunOptions
from seamline.train.runs import list_runs, read_log, request_run, run_output, show_run

IMAGE = "python:3.11"
#: Chains that are alike would stand in for one another.
NO_CACHE = RunOptions(enable_cache=False)
SERVER = """
import os, signal, sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import open_stores
from seamline.train.engine.engine import Engine, task_environ

root = Path(sys.argv[1])
stores = open_stores(root, SystemClock())
runner = TaskRunner(SystemClock(), root / "zygotes", environ=task_environ(os.environ))
environments = EnvironmentCache(root / "environments", Path(sys.executable))
engine = Engine(stores, runner, environments, lambda uri, context: None, slots=2)
engine.start()
print("up", flush=True)
signal.pause()
"""


@dsl.component(base_image=IMAGE)
def work(n: int, diary: str, gate: str) -> int:
    import time
    from pathlib import Path

    with Path(diary).open("a") as file:
        file.write(f"{Path.cwd().parent.name}\n")
    while gate and not Path(gate).exists():
        time.sleep(0.005)
    return n + 1


@dsl.component(base_image=IMAGE)
def add_up(a: int, b: int, c: int) -> int:
    return a + b + c


@dsl.pipeline
def held(diary: str, gate: str) -> int:
    ends = []
    for _ in range(2):
        first = work(n=0, diary=diary, gate="")
        second = work(n=first.output, diary=diary, gate="")
        ends.append(second)
    hold = work(n=ends[0].output, diary=diary, gate=gate).after(ends[1])
    return add_up(a=ends[0].output, b=ends[1].output, c=hold.output).output


@dsl.pipeline
def three_chains(diary: str) -> int:
    ends = []
    for _ in range(3):
        task = work(n=0, diary=diary, gate="")
        for _ in range(7):
            task = work(n=task.output, diary=diary, gate="")
        ends.append(task.output)
    return add_up(a=ends[0], b=ends[1], c=ends[2]).output


class Server:
    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def serve(stores):
    started: list[Server] = []

    def start() -> Server:
        started.append(Server(stores.root))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.kill()


def tasks_of(stores, run_id: str) -> dict[str, dict]:
    return {task["name"]: task for task in show_run(stores, run_id)["tasks"]}


def test_finished_tasks_are_not_redone_and_running_ones_start_anew(
    stores, serve, warm, compile_ir, tmp_path
):
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    run_id = request_run(
        stores, compile_ir(held), arguments={"diary": str(diary), "gate": str(gate)},
        environment="dataops", by="ana", options=NO_CACHE,
    )  # fmt: skip
    server = serve()
    wait_until(lambda: tasks_of(stores, run_id)["work-5"]["pid"] is not None)
    holding = identity_of(tasks_of(stores, run_id)["work-5"]["pid"])
    server.kill()
    wait_until(lambda: holding is None or not is_alive(holding))
    assert tasks_of(stores, run_id)["work-5"]["state"] == "running"
    gate.touch()
    engine = Engine(stores, *warm, lambda uri, context: None, slots=2)
    engine.start()
    wait_until(lambda: list_runs(stores)[0]["state"] != "running")
    engine.close()
    assert run_output(stores, run_id, "Output") == 7
    done = Counter(diary.read_text().split())
    assert done == {"work": 1, "work-2": 1, "work-3": 1, "work-4": 1, "work-5": 2}
    again = tasks_of(stores, run_id)["work-5"]
    assert (again["attempt"], again["failures"]) == (2, 0)
    assert read_log(stores, run_id, "work-5")["attempt"] == 2


def test_kills_at_any_time_change_neither_the_result_nor_what_was_done(
    stores, serve, compile_ir, tmp_path
):
    diary = tmp_path / "diary"
    arguments = {"diary": str(diary)}
    run_id = request_run(
        stores, compile_ir(three_chains), arguments=arguments, environment="dataops", by="ana",
        options=NO_CACHE,
    )  # fmt: skip

    def lines() -> list[str]:
        return diary.read_text().split() if diary.exists() else []

    for kill_at in (2, 9, 16):
        server = serve()
        wait_until(lambda at=kill_at: len(lines()) >= at)
        server.kill()
        finished = {
            name for name, task in tasks_of(stores, run_id).items()
            if task["state"] == TaskState.SUCCEEDED
        }  # fmt: skip
        before = Counter(lines())
        # Tasks die with their server; what one wrote just before that may still arrive.
        assert all(before[name] >= 1 for name in finished - {"add-up"})
        frozen = {name: before[name] for name in finished}
        last = serve()
        wait_until(lambda at=kill_at: len(lines()) >= at + 3)
        last.kill()
        assert all(Counter(lines())[name] == times for name, times in frozen.items())
    serve()
    wait_until(lambda: list_runs(stores)[0]["state"] != "running")
    assert run_output(stores, run_id, "Output") == 24
    shown = tasks_of(stores, run_id)
    done = Counter(lines())
    assert all(done[name] <= task["attempt"] for name, task in shown.items() if name != "add-up")
    assert all(task["failures"] == 0 for task in shown.values())
    assert sum(done.values()) <= 24 + 6 * 2


def test_closing_leaves_the_rest_to_the_next_engine(stores, warm, compile_ir, tmp_path):
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    first = Engine(stores, *warm, lambda uri, context: None, slots=2)
    first.start()
    run_id = request_run(
        stores, compile_ir(held), arguments={"diary": str(diary), "gate": str(gate)},
        environment="dataops", by="ana", options=NO_CACHE,
    )  # fmt: skip
    first.wake()
    wait_until(lambda: diary.exists() and "work-5" in diary.read_text().split())
    first.close()
    assert list_runs(stores)[0]["state"] == "running"
    gate.touch()
    second = Engine(stores, *warm, lambda uri, context: None, slots=2)
    second.start()
    wait_until(lambda: list_runs(stores)[0]["state"] == "succeeded")
    second.close()
    assert run_output(stores, run_id, "Output") == 7


def test_a_database_that_fails_for_a_while_costs_the_running_tasks_only(
    house, compile_ir, tmp_path, caplog
):
    """What the engine could not write did not happen: it begins again from the rows."""
    diary, gate = tmp_path / "diary", tmp_path / "gate"
    run_id = house.request(compile_ir(held), NO_CACHE, diary=str(diary), gate=str(gate))
    house.wait_for(lambda: tasks_of(house.stores, run_id)["work-5"]["pid"] is not None)
    with house.stores.db.transaction() as tx:
        tx.execute(text("ALTER TABLE facts RENAME TO facts_away"))
    gate.touch()
    wait_until(lambda: "The engine starts over" in caplog.text)
    with house.stores.db.transaction() as tx:
        tx.execute(text("ALTER TABLE facts_away RENAME TO facts"))
    assert house.finish(run_id)["outputs"]["parameters"] == {"Output": 7}
    done = Counter(diary.read_text().split())
    assert done == {"work": 1, "work-2": 1, "work-3": 1, "work-4": 1, "work-5": 2}
