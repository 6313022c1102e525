"""What can become of a task, each time with real forks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import Conflict, Unavailable
from seamline.runtime.outcomes import TaskOutcome
from seamline.runtime.processes import ProcessIdentity, identity_of, is_alive
from seamline.runtime.tasks import Limits, TaskEnd, TaskRunner, TaskSpec

MakeScript = Callable[..., TaskSpec]
WaitUntil = Callable[[Callable[[], object]], None]

ADD = "def main(payload):\n    return {'x': payload['x'] + 1}\n"
SLEEP = "import time\ndef main(payload):\n    time.sleep(600)\n"
#: Leaves one descendant in the group and one in a session of its own, and tells their numbers.
FAMILY = """
import json, os, subprocess, time
from pathlib import Path
def main(payload):
    near = subprocess.Popen(["sleep", "600"])
    far = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; exec 1>&-; wait"],
                           start_new_session=True, stdout=subprocess.PIPE)
    farther = int(far.stdout.readline())
    partial = Path("pids.partial")
    partial.write_text(json.dumps([os.getpid(), os.getppid(), near.pid, far.pid, farther]))
    partial.rename("pids.json")
    if payload.get("exit"):
        os._exit(0)
    time.sleep(600)
"""


def output_of(spec: TaskSpec) -> Any:
    assert spec.output_path is not None
    return json.loads(spec.output_path.read_text())


def family_of(spec: TaskSpec) -> list[ProcessIdentity]:
    pids = json.loads((spec.work_dir / "pids.json").read_text())
    return [found for pid in pids if (found := identity_of(pid)) is not None]


def test_a_task_runs_in_a_process_of_its_own(runner: TaskRunner, script: MakeScript) -> None:
    source = """
    import os, sys
    def main(payload):
        print("hello from", payload["name"])
        print("and to stderr", file=sys.stderr)
        return {"pid": os.getpid(), "group": os.getpgid(0), "cwd": os.getcwd(),
                "colour": os.environ["COLOUR"], "path": sys.path, "argv": sys.argv}
    """
    specs = [script(f"t{i}", source, {"name": str(i)}, env={"COLOUR": "red"}) for i in range(5)]
    seen: dict[str, ProcessIdentity] = {}
    futures = [runner.start(spec, partial(seen.__setitem__, spec.task_id)) for spec in specs]
    outcomes = [future.result() for future in futures]
    assert all(outcome.succeeded for outcome in outcomes)
    results = [output_of(spec) for spec in specs]
    pids = [result["pid"] for result in results]
    assert len({os.getpid(), *pids}) == 6
    assert [seen[spec.task_id].pid for spec in specs] == pids
    assert [outcome.process for outcome in outcomes] == [seen[spec.task_id] for spec in specs]
    for spec, outcome, result in zip(specs, outcomes, results, strict=True):
        assert result["group"] == result["pid"]
        assert Path(result["cwd"]) == spec.work_dir
        assert result["colour"] == "red"
        # The folder of our own scripts must not stand for packages that users import.
        assert not [p for p in result["path"] if p.endswith("seamline/runtime")]
        assert result["argv"] == [str(spec.source)]
        assert spec.log_path.read_text() == f"hello from {spec.task_id[1:]}\nand to stderr\n"
        assert outcome.peak_rss_bytes > 1_000_000
        assert outcome.started_at is not None
        assert outcome.started_at <= outcome.ended_at
    assert "COLOUR" not in os.environ


def test_an_exception_is_told_from_the_users_first_line_on(
    runner: TaskRunner, script: MakeScript
) -> None:
    spec = script("t", "def main(payload):\n    return {'x': 1 / payload['x']}\n", {"x": 0})
    outcome = runner.start(spec).result()
    assert (outcome.end, outcome.exit_code, outcome.signal) == (TaskEnd.FAILED, 1, None)
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("ZeroDivisionError", "division by zero")
    assert "return {'x': 1 / payload['x']}" in outcome.error.traceback
    assert "task_main.py" not in outcome.error.traceback
    assert spec.log_path.read_text() == outcome.error.traceback
    assert spec.output_path is not None
    assert not spec.output_path.exists()


@pytest.mark.parametrize(
    ("statement", "code", "kind"),
    [
        ("sys.exit(0)", 0, None),
        ("sys.exit(7)", 7, "SystemExit"),
        ("sys.exit('no')", 1, "SystemExit"),
        ("os._exit(3)", 3, "SystemExit"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
    ],
)
def test_exit_codes(
    runner: TaskRunner, script: MakeScript, statement: str, code: int, kind: str | None
) -> None:
    source = f"import os, sys\ndef main(payload):\n    {statement}\n"
    outcome = runner.start(script("t", source)).result()
    assert outcome.exit_code == code
    assert (outcome.error and outcome.error.type) == kind


def test_a_crash_takes_nobody_with_it(runner: TaskRunner, script: MakeScript) -> None:
    source = "import os\ndef main(payload):\n    os.kill(os.getpid(), 11)\n"
    beside = runner.start(script("beside", SLEEP))
    outcome = runner.start(script("crash", source)).result()
    assert (outcome.end, outcome.signal) == (TaskEnd.CRASHED, signal.SIGSEGV)
    assert outcome.error is not None
    assert "native code crashed" in outcome.error.message
    assert not beside.done()
    spec = script("after", ADD, {"x": 1})
    assert runner.start(spec).result().succeeded
    assert output_of(spec) == {"x": 2}


def test_a_timeout_ends_grandchildren_too(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil, in_time: Callable[..., Any]
) -> None:
    tried: list[TaskSpec] = []

    def begin(limit_s: float) -> tuple[Future[TaskOutcome], Path]:
        tried.append(script(f"t-{limit_s}", FAMILY, limits=Limits(timeout_s=1.5 * limit_s)))
        return runner.start(tried[-1]), tried[-1].work_dir / "pids.json"

    future, _ = in_time(begin)
    task, zygote, *descendants = family_of(tried[-1])
    assert len(descendants) == 3
    outcome = future.result()
    assert (outcome.end, outcome.timed_out) == (TaskEnd.TIMED_OUT, True)
    wait_until(lambda: not any(map(is_alive, [task, *descendants])))
    assert is_alive(zygote)


def test_what_a_task_leaves_running_ends_with_it(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil
) -> None:
    spec = script("t", FAMILY, {"exit": True})
    assert runner.start(spec).result().exit_code == 0
    _, zygote, *left = json.loads((spec.work_dir / "pids.json").read_text())
    wait_until(lambda: not any(map(identity_of, left)))
    assert identity_of(zygote) is not None


def test_a_task_is_killed_on_request(runner: TaskRunner, script: MakeScript) -> None:
    started = Event()
    future = runner.start(script("t", SLEEP), lambda _: started.set())
    assert started.wait(120)
    runner.kill("t")
    assert future.result().end is TaskEnd.CANCELED
    runner.kill("t")
    runner.kill("never heard of")


def test_a_task_can_be_killed_before_it_started(runner: TaskRunner, script: MakeScript) -> None:
    future = runner.start(script("t", SLEEP))
    runner.kill("t")
    assert future.result().end is TaskEnd.CANCELED


def test_memory_and_processor_time_have_limits(runner: TaskRunner, script: MakeScript) -> None:
    hungry = "def main(payload):\n    return {'n': len(bytearray(600 << 20))}\n"
    busy = "def main(payload):\n    while True:\n        pass\n"
    memory = runner.start(script("m", hungry, limits=Limits(memory_bytes=300 << 20)))
    enough = runner.start(script("e", hungry, limits=Limits(memory_bytes=900 << 20)))
    time = runner.start(script("c", busy, limits=Limits(cpu_s=0.5)))
    assert enough.result().succeeded
    refused = memory.result()
    assert refused.error is not None
    assert refused.error.type == "MemoryError"
    ended = time.result()
    assert (ended.end, ended.signal) == (TaskEnd.CRASHED, signal.SIGXCPU)
    assert ended.error is not None
    assert "processor time" in ended.error.message


def test_a_parameter_of_50_megabytes_travels_by_file(
    runner: TaskRunner, script: MakeScript
) -> None:
    source = "def main(payload):\n    return {'n': len(payload['text']), 'text': payload['text']}\n"
    spec = script("t", source, {"text": "x" * (50 << 20)})
    assert runner.start(spec).result().succeeded
    result = output_of(spec)
    assert result["n"] == len(result["text"]) == 50 << 20


def test_a_log_has_a_bound_and_says_so(tmp_path: Path, script: MakeScript) -> None:
    source = (
        "def main(payload):\n    for i in range(50_000):\n        print('x' * 99)\n    return {}\n"
    )
    with TaskRunner(SystemClock(), tmp_path / "run", log_limit_bytes=100_000) as runner:
        loud, quiet = script("loud", source), script("quiet", "def main(payload): return {}")
        outcome = runner.start(loud).result()
        assert outcome.succeeded
        assert outcome.log_full
        assert not runner.start(quiet).result().log_full
    text = loud.log_path.read_text()
    assert len(text) < 100_200
    assert text.endswith("the log is full; what follows is not kept, the task goes on]\n")


def test_a_source_with_other_bytes_is_refused(runner: TaskRunner, script: MakeScript) -> None:
    spec = script("t", ADD, {"x": 1})
    right = replace(spec, source_digest=digest_of(spec.source.read_bytes()))
    assert runner.start(right).result().succeeded
    spec.source.write_text(ADD.replace("+ 1", "+ 2"))
    outcome = runner.start(replace(right, task_id="again")).result()
    assert outcome.error is not None
    assert right.source_digest is not None
    assert f"expected {right.source_digest}" in outcome.error.message


def test_threads_and_exit_handlers_of_a_task_are_waited_for(
    runner: TaskRunner, script: MakeScript
) -> None:
    source = """
    import atexit, threading
    def main(payload):
        go = threading.Event()
        atexit.register(print, "farewell")
        threading.Thread(target=lambda: (go.wait(), print("thread"))).start()
        threading.Timer(0.05, go.set).start()
        return {}
    """
    spec = script("t", source)
    assert runner.start(spec).result().succeeded
    assert spec.log_path.read_text() == "thread\nfarewell\n"


def test_each_task_draws_its_own_random_numbers(tmp_path: Path, script: MakeScript) -> None:
    source = """
    import random, numpy
    def main(payload):
        return {"x": [random.random(), float(numpy.random.rand())]}
    """
    specs = [script(f"t{i}", source) for i in range(4)]
    with TaskRunner(SystemClock(), tmp_path / "run", {"script:host": ["numpy"]}) as runner:
        outcomes = [future.result() for future in [runner.start(spec) for spec in specs]]
    assert not any("numpy" in outcome.imported for outcome in outcomes)
    drawn = [number for spec in specs for number in output_of(spec)["x"]]
    assert len(set(drawn)) == 8


def test_one_id_runs_once_at_a_time(runner: TaskRunner, script: MakeScript) -> None:
    spec = script("t", SLEEP)
    future = runner.start(spec)
    with pytest.raises(Conflict, match="already running"):
        runner.start(spec)
    runner.kill("t")
    future.result()
    again = runner.start(replace(spec, task_id="t"))
    runner.kill("t")
    assert again.result().end is TaskEnd.CANCELED


def test_what_cannot_start_is_machinery(runner: TaskRunner, script: MakeScript) -> None:
    spec = script("t", ADD)
    spec.work_dir.write_text("a file where the folder should be")
    outcome = runner.start(spec).result()
    assert outcome.end is TaskEnd.NOT_STARTED
    assert outcome.is_machinery
    missing = replace(spec.environment, python=Path("/nowhere/python"), is_host=False)
    outcome = runner.start(replace(spec, environment=missing)).result()
    assert outcome.end is TaskEnd.NOT_STARTED
    assert outcome.error is not None
    assert "/nowhere/python" in outcome.error.message


def test_a_failing_on_started_hurts_nobody(
    runner: TaskRunner, script: MakeScript, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: ProcessIdentity) -> None:
        raise RuntimeError("on purpose")

    assert runner.start(script("t", ADD, {"x": 1}), fail).result().succeeded
    assert "on_started of task t" in caplog.text


def test_a_follower_may_start_where_its_predecessor_ends(
    runner: TaskRunner, script: MakeScript
) -> None:
    last: Future[object] = Future()
    specs = [script(f"t{i}", ADD, {"x": i}) for i in range(20)]

    def start_next(index: int) -> None:
        if index == len(specs):
            last.set_result(None)
        else:
            runner.start(specs[index]).add_done_callback(lambda _: start_next(index + 1))

    start_next(0)
    last.result(120)
    assert [output_of(spec) for spec in specs] == [{"x": i + 1} for i in range(20)]


def test_closing_ends_what_runs(tmp_path: Path, script: MakeScript, wait_until: WaitUntil) -> None:
    runner = TaskRunner(SystemClock(), tmp_path / "run")
    spec = script("t", FAMILY)
    future = runner.start(spec)
    wait_until((spec.work_dir / "pids.json").exists)
    family = family_of(spec)
    assert len(family) == 5
    runner.close()
    assert future.result().end is TaskEnd.CANCELED
    wait_until(lambda: not any(map(is_alive, family)))
    runner.close()
    with pytest.raises(Unavailable, match="stopping"):
        runner.start(spec)
