"""kill -9 of the engine's process, its workers or its tasks, all over a run with nested loops,
conditions, retries and a collecting task: the run ends as it would have.

A seeded sample; `--soak` plays more than a hundred kills. A failure names the run and the kills.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kfp import compiler, dsl
from tests.waiting import wait_until

from seamline.domain.clock import SystemClock
from seamline.domain.states import RunState, TaskState, is_terminal
from seamline.store.stores import Stores, open_stores
from seamline.train.runs import request_run, run_output, run_state, show_run

SEED = 20131201
KILLS_PER_RUN = 5
IMAGE = "python:3.11"
#: A process of its own, as `seamline up` is; it can be told to end itself right after a commit.
SERVER = """
import os, signal, sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.tasks import TaskRunner
from seamline.store.stores import open_stores
from seamline.train.engine.engine import Engine, task_environ

root, kill_at = Path(sys.argv[1]), int(sys.argv[2])
stores = open_stores(root, SystemClock())
commits = 0

def count():
    global commits
    commits += 1
    if commits == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

stores.db.on_commit(count)
runner = TaskRunner(SystemClock(), root / "zygotes", environ=task_environ(os.environ))
environments = EnvironmentCache(root / "environments", Path(sys.executable))
engine = Engine(stores, runner, environments, lambda uri, context: None, slots=2)
engine.start()
print("up", flush=True)
signal.pause()
"""


@dsl.component(base_image=IMAGE)
def items(n: int, diary: str) -> list:
    from pathlib import Path

    with Path(diary).open("a") as file:
        file.write("items done\n")
    return list(range(n))


@dsl.component(base_image=IMAGE)
def flaky(i: int, j: int, diary: str) -> int:
    """Fails at its first attempt where i + j is odd."""
    from pathlib import Path

    name = f"flaky-{i}-{j}"
    path = Path(diary)
    with path.open("a") as file:
        file.write(f"{name} start\n")
    failed = path.with_name(f"{name}.failed")
    if (i + j) % 2 and not failed.exists():
        failed.touch()
        raise RuntimeError("the first time")
    with path.open("a") as file:
        file.write(f"{name} done\n")
    return 10 * i + j


@dsl.component(base_image=IMAGE)
def double(n: int, diary: str) -> int:
    from pathlib import Path

    with Path(diary).open("a") as file:
        file.write(f"double-{n} start\ndouble-{n} done\n")
    return 2 * n


@dsl.component(base_image=IMAGE)
def collect(values: list, doubled: list, diary: str) -> int:
    from pathlib import Path

    with Path(diary).open("a") as file:
        file.write("collect start\ncollect done\n")
    return sum(sum(inner) for inner in values) + sum(sum(inner) for inner in doubled)


@dsl.pipeline
def winding(diary: str, n: int = 3) -> int:
    listed = items(n=n, diary=diary).set_retry(3)
    with dsl.ParallelFor(listed.output) as i, dsl.ParallelFor([0, 1, 2], parallelism=2) as j:
        made = flaky(i=i, j=j, diary=diary).set_retry(6)
        with dsl.If(made.output >= 10):
            twice = double(n=made.output, diary=diary).set_retry(3)
    collected = collect(
        values=dsl.Collected(made.output), doubled=dsl.Collected(twice.output), diary=diary
    )
    return collected.set_retry(3).output


#: Each `flaky` is 10 i + j; those from 10 on count twice more.
EXPECTED = sum(10 * i + j for i in range(3) for j in range(3)) + sum(
    2 * (10 * i + j) for i in range(1, 3) for j in range(3)
)


@pytest.fixture(scope="module")
def ir(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("ir") / "winding.yaml"
    compiler.Compiler().compile(winding, str(path))
    return path.read_bytes()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Callable[[str], Stores]]:
    opened: list[Stores] = []

    def make(name: str) -> Stores:
        opened.append(open_stores(tmp_path / name, SystemClock()))
        return opened[-1]

    yield make
    for stores in opened:
        stores.db.close()


class Server:
    def __init__(self, root: Path, kill_at: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(root), str(kill_at)],
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def family(self) -> list[int]:
        """Every process below this one: zygotes, and the tasks below these."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found = list(children.get(self.process.pid, []))
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def kill(self) -> None:
        """Also one that is dead already."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """None of them outlives the test, however that ends."""
    started: list[Server] = []

    def make(root: Path, kill_at: int = 0) -> Server:
        started.append(Server(root, kill_at))
        return started[-1]

    yield make
    for server in started:
        server.kill()


def processes_in(root: Path) -> list[str]:
    """Processes that work in the workspace's folder, or were started for it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            place = str((entry / "cwd").readlink())
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if place.startswith(str(root)) or str(root) in words:
            found.append(f"{entry.name} {words!r}")
    return found


def done_so_far(stores: Stores, run_id: str) -> set[str]:
    good = (TaskState.SUCCEEDED, TaskState.SKIPPED)
    tasks = show_run(stores, run_id)["tasks"]
    return {t["name"] for t in tasks if t["state"] in good and t["kind"] == "python"}


def attempts_of(stores: Stores, run_id: str) -> dict[str, int]:
    return {task["name"]: task["attempt"] for task in show_run(stores, run_id)["tasks"]}


def play(
    stores: Stores, ir: bytes, drawn: random.Random, kills: int, start: Callable[..., Server]
) -> tuple[str, list[str]]:
    """A run to its end, with up to that many kills on the way; (its id, the kills)."""
    diary = stores.root / "diary"
    run_id = request_run(
        stores, ir, arguments={"diary": str(diary)}, environment="dataops", by="ana"
    )
    finished: dict[str, int] = {}
    told: list[str] = []

    def is_over() -> bool:
        return is_terminal(run_state(stores, run_id))

    for _ in range(kills):
        if is_over():
            break
        kind = drawn.choice(["commit", "server", "worker"])
        server = start(stores.root, drawn.randint(1, 12) if kind == "commit" else 0)
        if kind == "commit":
            told.append("at a commit")
            wait_until(lambda s=server: s.process.poll() is not None or is_over(), 300, str(told))
        else:
            assert server.process.stdout is not None
            server.process.stdout.readline()
            # The moment itself is what is drawn here: there is no event to wait for.
            moment = drawn.uniform(0, 0.6)
            told.append(f"{kind} after {moment:.3f} s")
            time.sleep(moment)
            family = server.family() if kind == "worker" else []
            if family:
                pid = drawn.choice(family)
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    told[-1] += ", which was gone"
        server.kill()
        attempts = attempts_of(stores, run_id)
        for name, count in finished.items():
            assert attempts[name] == count, f"{name} ran again after it had succeeded: {told}"
        finished = {name: attempts[name] for name in done_so_far(stores, run_id)}
    server = start(stores.root)
    wait_until(is_over, 300, f"the run does not end: {told}")
    server.kill()
    attempts = attempts_of(stores, run_id)
    assert {name: attempts[name] for name in finished} == finished, told
    assert run_state(stores, run_id) is RunState.SUCCEEDED, (told, show_run(stores, run_id))
    return run_id, told


def test_runs_end_as_they_would_have(
    workspace: Callable[[str], Stores], start: Callable[..., Server], ir: bytes, soak: bool
) -> None:
    drawn = random.Random(SEED)
    killed = number = 0
    while killed < (120 if soak else 8):
        number += 1
        stores = workspace(f"run-{number}")
        run_id, told = play(stores, ir, drawn, KILLS_PER_RUN, start)
        killed += len(told)
        assert run_output(stores, run_id, "Output") == EXPECTED, f"run {number}"
        lines = (stores.root / "diary").read_text().splitlines()
        done = Counter(line for line in lines if line.startswith("flaky") and "done" in line)
        assert len(done) == 9
        before = lines[: lines.index("collect start")]
        assert {line for line in before if line in done} == set(done), "collected too early"
        wait_until(
            lambda root=stores.root: not processes_in(root), 120, str(processes_in(stores.root))
        )
