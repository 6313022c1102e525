"""Limits: memory of a whole family, processors, time; and what an error then says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.runtime.outcomes import TaskOutcome
from seamline.runtime.processes import identity_of
from seamline.runtime.task_limits import find_home
from seamline.runtime.tasks import Limits, TaskEnd, TaskIsolation, TaskRunner, TaskSpec

MakeScript = Callable[..., TaskSpec]
WaitUntil = Callable[[Callable[[], object]], None]

#: Children that hold so much each, together more than the task may have; none alone.
HOLDERS = """
import json, os, subprocess, sys, time
from pathlib import Path
HOLD = '''
import sys, time
held = b"x" * (int(sys.argv[1]) << 20)
print(1, flush=True)
time.sleep(600)
'''
def main(payload):
    pids = [os.getpid()]
    for detached in (False, True):
        child = subprocess.Popen([sys.executable, "-c", HOLD, str(payload["each"])],
                                 stdout=subprocess.PIPE, start_new_session=detached)
        pids.append(child.pid)
        Path("partial").write_text(json.dumps(pids))
        Path("partial").rename("pids.json")
        child.stdout.readline()
    print("holding")
    time.sleep(600)
"""
SEE = "import os\ndef main(payload):\n    return {'cpus': sorted(os.sched_getaffinity(0))}\n"


def output_of(spec: TaskSpec) -> Any:
    assert spec.output_path is not None
    return json.loads(spec.output_path.read_text())


@pytest.mark.parametrize("isolation", TaskIsolation)
def test_the_memory_of_a_family_is_added_up(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil, isolation: TaskIsolation
) -> None:
    limits = Limits(memory_bytes=200 << 20)
    spec = script("t", HOLDERS, {"each": 150}, limits=limits, isolation=isolation)
    outcome = runner.start(spec).result()
    assert (outcome.end, outcome.signal) == (TaskEnd.CRASHED, signal.SIGKILL)
    assert outcome.error is not None
    assert outcome.error.type == "MemoryLimit"
    assert "used more than its memory limit of 200 MiB (it had " in outcome.error.message
    assert outcome.peak_rss_bytes > 200 << 20
    pids = json.loads((spec.work_dir / "pids.json").read_text())
    assert len(pids) == 3
    for pid in pids:
        wait_until(partial(lambda one: identity_of(one) is None, pid))


def test_a_family_within_its_memory_is_left_alone(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil
) -> None:
    spec = script("t", HOLDERS, {"each": 60}, limits=Limits(memory_bytes=300 << 20))
    future = runner.start(spec)
    wait_until(lambda: "holding" in read(spec.log_path))
    # The one beside it is watched at the same time, and is looked at until it is ended.
    beside = script("beside", HOLDERS, {"each": 100}, limits=Limits(memory_bytes=120 << 20))
    assert runner.start(beside).result().end is TaskEnd.CRASHED
    assert not future.done()
    runner.kill("t")
    assert future.result().end is TaskEnd.CANCELED


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_what_the_zygote_has_is_not_laid_to_the_task(tmp_path: Path, script: MakeScript) -> None:
    source = """
    import sys
    def main(payload):
        held = b"x" * (20 << 20)
        return {"warm": "numpy" in sys.modules, "held": len(held)}
    """
    preload = {"script:host": ["numpy", "sqlalchemy", "fastapi"]}
    with TaskRunner(SystemClock(), tmp_path / "run", preload) as runner:
        spec = script("t", source, limits=Limits(memory_bytes=32 << 20))
        outcome = runner.start(spec).result()
    assert outcome.error is None
    assert output_of(spec)["warm"]
    assert outcome.peak_rss_bytes > 40 << 20


def test_pages_of_files_are_not_laid_to_the_task(runner: TaskRunner, script: MakeScript) -> None:
    source = """
    import mmap, time
    def main(payload):
        with open("big", "wb") as file:
            for _ in range(200):
                file.write(b"x" * (1 << 20))
        with open("big", "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            total = sum(pages[::4096].count(b"x") for _ in range(3))
            time.sleep(0.3)  # Long enough to be looked at.
        return {"total": total}
    """
    spec = script("t", source, limits=Limits(memory_bytes=100 << 20))
    outcome = runner.start(spec).result()
    assert outcome.error is None
    assert outcome.peak_rss_bytes > 200 << 20


def test_a_refused_allocation_names_the_limit(runner: TaskRunner, script: MakeScript) -> None:
    source = "def main(payload):\n    return {'n': len(bytearray(600 << 20))}\n"
    outcome = runner.start(script("t", source, limits=Limits(memory_bytes=300 << 20))).result()
    assert outcome.error is not None
    assert outcome.error.type == "MemoryError"
    assert outcome.error.message == "The task's memory limit is 300 MiB."
    assert "bytearray(600 << 20)" in outcome.error.traceback


@pytest.mark.skipif(find_home() is None, reason="no control groups can be made here")
def test_the_kernel_holds_a_group_to_its_memory(runner: TaskRunner, script: MakeScript) -> None:
    source = "def main(payload):\n    return open('/proc/self/cgroup').read()\n"
    spec = script("t", source, limits=Limits(memory_bytes=200 << 20, cpu_cores=0.5))
    assert runner.start(spec).result().succeeded
    assert "/seamline-" in output_of(spec)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is but one processor")
def test_a_task_stays_on_as_many_processors_as_it_may_use(
    tmp_path: Path, script: MakeScript
) -> None:
    go = [tmp_path / f"go{i}" for i in range(2)]
    waiting = SEE.replace(
        "def main(payload):\n", "def main(payload):\n    open(payload['go']).read()\n"
    )
    all_cpus = sorted(os.sched_getaffinity(0))
    with TaskRunner(SystemClock(), tmp_path / "run") as runner:
        specs = []
        for index, path in enumerate(go):
            os.mkfifo(path)
            part = Limits(cpu_cores=(1.0, 0.5)[index])
            specs.append(script(f"t{index}", waiting, {"go": str(path)}, limits=part))
        futures = [runner.start(spec) for spec in specs]
        for path in go:
            path.write_text("now")
        assert all(future.result().succeeded for future in futures)
        first, second = map(output_of, specs)
        assert (len(first["cpus"]), len(second["cpus"])) == (1, 1)
        assert first != second
        free = [script("u0", SEE), script("u1", SEE, limits=Limits(cpu_cores=len(all_cpus)))]
        one = [script(f"v{i}", SEE, limits=Limits(cpu_cores=1)) for i in range(3)]
        reused = {"isolation": TaskIsolation.REUSED}
        again = [
            script("w0", SEE, limits=Limits(cpu_cores=1), **reused),
            script("w1", SEE, **reused),
        ]
        for spec in (*free, *one, *again):
            assert runner.start(spec).result().succeeded
    assert [output_of(spec)["cpus"] for spec in free] == [all_cpus, all_cpus]
    # Given back each time: the same one, as nobody else has it.
    assert [output_of(spec)["cpus"] for spec in one] == [all_cpus[:1]] * 3
    assert [output_of(spec)["cpus"] for spec in again] == [all_cpus[:1], all_cpus]


DAEMON = """
import json, os, time
from pathlib import Path
def main(payload):
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.write(write, str(os.getpid()).encode())
        time.sleep(600)
    os.wait()
    Path("partial").write_text(os.read(read, 20).decode())
    Path("partial").rename("daemon")
    {then}
    return {{}}
"""


@pytest.mark.parametrize("isolation", TaskIsolation)
@pytest.mark.parametrize("then", ["time.sleep(600)", "pass"], ids=["hangs", "returns"])
def test_a_daemon_that_a_task_started_ends_with_it(
    runner: TaskRunner,
    script: MakeScript,
    wait_until: WaitUntil,
    in_time: Callable[..., Any],
    then: str,
    isolation: TaskIsolation,
) -> None:
    source = DAEMON.format(then=then)

    def begin(limit_s: float) -> tuple[Future[TaskOutcome], Path]:
        limits = Limits(timeout_s=120.0 if then == "pass" else limit_s)
        spec = script(f"t-{limit_s}", source, limits=limits, isolation=isolation)
        return runner.start(spec), spec.work_dir / "daemon"

    future, told = in_time(begin)
    daemon = int(told.read_text())
    outcome = future.result()
    assert outcome.end is (TaskEnd.TIMED_OUT if then != "pass" else TaskEnd.SUCCEEDED)
    wait_until(lambda: identity_of(daemon) is None)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("os.kill(os.getpid(), 9)", "SIGKILL ended the task: killed from outside"),
        ("os.abort()", "SIGABRT ended the task: its native code crashed"),
        ("os._exit(137)", "exited with code 137, as a shell does when SIGKILL ends its command"),
        ("os._exit(2)", "exited with code 2."),
        ("raise ValueError('no such column')", "no such column"),
        ("time.sleep(600)", "did not end within its time limit"),
    ],
)
def test_an_error_has_the_last_lines_of_the_log(
    runner: TaskRunner, script: MakeScript, statement: str, said: str
) -> None:
    source = f"""
    import os, time
    def main(payload):
        for number in range(100):
            print("line", number)
        {statement}
    """
    spec = script("t", source, limits=Limits(timeout_s=4.0 if "sleep" in statement else None))
    error = runner.start(spec).result().error
    assert error is not None
    assert said in error.message
    lines = error.log_tail.splitlines()
    assert len(lines) == 20
    assert lines == spec.log_path.read_text().splitlines()[-20:]
    if not error.traceback:
        assert lines[-1] == "line 99"


def test_long_last_lines_are_cut(runner: TaskRunner, script: MakeScript) -> None:
    source = "def main(p):\n    for n in range(9):\n        print(n, 'x' * 1000)\n    1 / 0\n"
    error = runner.start(script("t", source)).result().error
    assert error is not None
    assert len(error.log_tail.encode()) <= 4096
    assert error.log_tail.splitlines()[0][:3] == "6 x"
    assert error.log_tail.splitlines()[-1].startswith("ZeroDivisionError")
    one = script(
        "u", "def main(p):\n    print('y' * 9000, end='', flush=True)\n    import os; os._exit(1)\n"
    )
    error = runner.start(one).result().error
    assert error is not None
    assert error.log_tail == "y" * 4096


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[TaskRunner]:
    with TaskRunner(SystemClock(), tmp_path / "run", log_limit_bytes=1 << 20) as running:
        yield running


def test_a_flood_of_log_fills_neither_disk_nor_memory(
    bounded: TaskRunner, script: MakeScript
) -> None:
    source = """
    import os
    from pathlib import Path
    def main(payload):
        chunk = b"x" * 99 + b"\\n"
        for _ in range(300):
            os.write(1, chunk * 10486)
        status = Path(f"/proc/{os.getppid()}/status").read_text()
        return {"peak_kib": int(status.partition("VmHWM:")[2].split()[0])}
    """
    spec, beside = script("t", source), script("beside", SEE)
    flood = bounded.start(spec)
    assert bounded.start(beside).result().succeeded
    outcome = flood.result()
    assert outcome.succeeded
    assert outcome.log_full
    assert spec.log_path.stat().st_size < (1 << 20) + 100
    assert spec.log_path.read_text().endswith("not kept, the task goes on]\n")
    assert output_of(spec)["peak_kib"] < 100 << 10
