"""Reused workers: one process for many tasks, and no task that finds what another left."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.processes import ProcessIdentity, identity_of, is_alive
from seamline.runtime.tasks import (
    Limits,
    TaskEnd,
    TaskIsolation,
    TaskKind,
    TaskOutcome,
    TaskRunner,
    TaskSpec,
)

MakeScript = Callable[..., TaskSpec]
WaitUntil = Callable[[Callable[[], object]], None]

ADD = "def main(payload):\n    return {'x': payload['x'] + 1}\n"
#: What a task can see of the process that it runs in.
LOOK = """
import json, logging, os, resource, signal, sys, tempfile, threading, warnings
def main(payload):
    print("looking")
    return {
        "cwd": os.getcwd(),
        "environ": {k: v for k, v in os.environ.items() if k != "TMPDIR"},
        "temporary": tempfile.gettempdir(),
        "path": sys.path,
        "argv": sys.argv[1:],
        "umask": os.umask(0o22),
        "signals": [str(signal.getsignal(n)).partition(" at ")[0] for n in (2, 10, 14, 15)],
        "alarm": signal.getitimer(signal.ITIMER_REAL)[0],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "limit": resource.getrlimit(resource.RLIMIT_NOFILE),
        "cpus": sorted(os.sched_getaffinity(0)),
        "root": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        "mine": len(logging.getLogger("mine").handlers),
        "filters": len(warnings.filters),
        "recursion": sys.getrecursionlimit(),
        "hook": sys.excepthook.__name__,
        "stdin": sys.stdin.read(),
        "threads": threading.active_count(),
        "modules": [name for name in ("helper", "ephemeral_component") if name in sys.modules],
    }
"""
UNDO = """
import logging, os, resource, signal, sys, tempfile, warnings
from pathlib import Path
def main(payload):
    Path("helper.py").write_text("x = 1")
    sys.path.insert(0, os.getcwd())
    import helper
    os.chdir("/")
    os.environ["LEFT"] = "behind"
    del os.environ["PATH"]
    tempfile.gettempdir()
    sys.argv.append("more")
    os.umask(0o77)
    for number in (2, 10, 14, 15):
        signal.signal(number, lambda *_: None)
    signal.alarm(1000)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    resource.setrlimit(resource.RLIMIT_NOFILE, (99, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    logging.basicConfig(level=1)
    logging.disable(50)
    logging.getLogger("mine").addHandler(logging.FileHandler("mine.log"))
    warnings.simplefilter("error")
    sys.setrecursionlimit(5000)
    sys.excepthook = print
    sys.stdout = sys.stderr = None
    os.close(0); os.close(1); os.close(2)
    return {}
"""


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[TaskRunner]:
    """With one worker: who comes second meets the process of the first."""
    with TaskRunner(SystemClock(), tmp_path / "run", most_workers=1) as running:
        yield running


@pytest.fixture
def reused(script: MakeScript) -> MakeScript:
    def make(task_id: str, source: str, payload: Any = None, **fields: Any) -> TaskSpec:
        return script(task_id, source, payload, isolation=TaskIsolation.REUSED, **fields)

    return make


def output_of(spec: TaskSpec) -> Any:
    assert spec.output_path is not None
    return json.loads(spec.output_path.read_text())


def pid_of(outcome: TaskOutcome) -> int:
    assert outcome.process is not None
    return outcome.process.pid


def test_one_process_takes_one_task_after_another(runner: TaskRunner, reused: MakeScript) -> None:
    source = """
    import os
    from pathlib import Path
    def main(payload):
        print("hello from", payload["name"], os.environ["COLOUR"])
        Path("mine").touch()
        return {"pid": os.getpid(), "cwd": os.getcwd()}
    """
    specs = [reused(f"t{i}", source, {"name": i}, env={"COLOUR": f"red {i}"}) for i in range(5)]
    seen: list[ProcessIdentity] = []
    outcomes = [runner.start(spec, seen.append).result() for spec in specs]
    assert [outcome.error for outcome in outcomes] == [None] * 5
    assert len(set(seen)) == 1
    assert {outcome.process for outcome in outcomes} == set(seen)
    assert is_alive(seen[0])
    for index, (spec, outcome) in enumerate(zip(specs, outcomes, strict=True)):
        assert output_of(spec) == {"pid": seen[0].pid, "cwd": str(spec.work_dir)}
        assert spec.log_path.read_text() == f"hello from {index} red {index}\n"
        assert (spec.work_dir / "mine").exists()
        assert outcome.peak_rss_bytes > 1_000_000


def test_a_task_finds_nothing_of_the_one_before(
    runner: TaskRunner, reused: MakeScript, tmp_path: Path
) -> None:
    shared = {"TMPDIR": str(tmp_path)}
    before = reused("t0", LOOK, env=shared)
    undo = reused("t1", UNDO, env={"TMPDIR": str(tmp_path / "run")})
    after = reused("t2", LOOK, env=shared)
    outcomes = [runner.start(spec).result() for spec in (before, undo, after)]
    assert [outcome.error for outcome in outcomes] == [None, None, None]
    assert len({outcome.process for outcome in outcomes}) == 1
    first, second = output_of(before), output_of(after)
    assert (first.pop("cwd"), second.pop("cwd")) == (str(before.work_dir), str(after.work_dir))
    assert second == first
    assert after.log_path.read_text() == "looking\n"


def test_kfp_components_do_not_meet(
    runner: TaskRunner, tmp_path: Path, host: PythonEnvironment
) -> None:
    pytest.importorskip("kfp")
    source = """
    import logging
    from kfp.dsl import *
    def step(number: int, model: Output[Model]) -> str:
        import inspect, sys
        from kfp.dsl.types import artifact_types
        logging.info("step %s", number)
        open(model.path, "w").write(str(number))
        lines = inspect.getsource(sys.modules["ephemeral_component"].step).splitlines()
        return f"{number} {artifact_types.CONTAINER_TASK_ROOT} {lines[-1].strip()}"
    # {name}
    """
    specs = []
    for index in range(4):
        folder = tmp_path / f"t{index}"
        folder.mkdir()
        text = textwrap.dedent(source).replace("{name}", str(index // 2))
        (folder / "ephemeral_component.py").write_text(text)
        model = {"name": "model", "type": {"schemaTitle": "system.Model"}, "metadata": {}}
        given = {
            "inputs": {"parameterValues": {"number": index}},
            "outputs": {
                "parameters": {"Output": {"outputFile": str(folder / "Output")}},
                "artifacts": {"model": {"artifacts": [{**model, "uri": str(folder / "model")}]}},
                "outputFile": str(folder / "out.json"),
            },
        }
        (folder / "input.json").write_text(json.dumps(given))
        specs.append(
            TaskSpec(
                f"t{index}", TaskKind.KFP, folder / "ephemeral_component.py",
                folder / "input.json", folder, folder / "log.txt", host,
                function="step", isolation=TaskIsolation.REUSED,
            )
        )  # fmt: skip
    outcomes = [runner.start(spec).result() for spec in specs]
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert len({outcome.process for outcome in outcomes}) == 1
    for index, spec in enumerate(specs):
        folder = spec.work_dir
        output = json.loads((folder / "out.json").read_text())
        said = output["parameterValues"]["Output"].split(" ", 2)
        assert said[:2] == [str(index), str(folder)]
        assert said[2].startswith("return f")
        assert (folder / "model").read_text() == str(index)
        assert spec.log_path.read_text().count("step") == 1


@pytest.mark.parametrize(
    ("statement", "end", "code", "number"),
    [
        ("1 / 0", TaskEnd.FAILED, 1, None),
        ("sys.exit(3)", TaskEnd.FAILED, 3, None),
        ("os._exit(4)", TaskEnd.FAILED, 4, None),
        ("os._exit(0)", TaskEnd.SUCCEEDED, 0, None),
        ("os.kill(os.getpid(), 11)", TaskEnd.CRASHED, None, signal.SIGSEGV),
        ("os.kill(os.getpid(), 9)", TaskEnd.CRASHED, None, signal.SIGKILL),
        ("os.closerange(3, 1000)", TaskEnd.SUCCEEDED, 0, None),
        ("os.fork()", TaskEnd.SUCCEEDED, 0, None),
    ],
)
def test_what_one_task_does_is_its_own_affair(
    runner: TaskRunner,
    reused: MakeScript,
    statement: str,
    end: TaskEnd,
    code: int | None,
    number: int | None,
) -> None:
    good, bad, after = (
        reused("good", ADD, {"x": 1}),
        reused("bad", f"import os, sys\ndef main(payload):\n    {statement}\n    return {{}}\n"),
        reused("after", ADD, {"x": 2}),
    )
    first, second, third = [runner.start(spec) for spec in (good, bad, after)]
    assert first.result().succeeded
    outcome = second.result()
    assert (outcome.end, outcome.exit_code, outcome.signal) == (end, code, number)
    assert outcome.process == first.result().process
    assert third.result().succeeded
    assert output_of(after) == {"x": 3}


def test_an_error_is_told_as_in_a_process_of_its_own(
    runner: TaskRunner, reused: MakeScript
) -> None:
    source = "def main(payload):\n    raise ValueError('no ' + payload['x'])\n"
    specs = [reused(f"t{i}", source, {"x": str(i)}) for i in range(2)]
    outcomes = [runner.start(spec).result() for spec in specs]
    assert outcomes[0].process == outcomes[1].process
    for index, (spec, outcome) in enumerate(zip(specs, outcomes, strict=True)):
        assert outcome.error is not None
        assert outcome.error.message == f"no {index}"
        assert f'File "{spec.source}", line 2, in main' in outcome.error.traceback
        assert "task_main" not in outcome.error.traceback
        assert spec.log_path.read_text() == outcome.error.traceback


def test_a_source_with_other_bytes_is_refused(runner: TaskRunner, reused: MakeScript) -> None:
    right = reused("right", ADD, {"x": 1})
    assert runner.start(right).result().succeeded
    outcome = runner.start(reused("wrong", ADD, {"x": 1}, source_digest="sha256:0")).result()
    assert outcome.error is not None
    assert "expected sha256:0" in outcome.error.message


SLEEPER = """
import json, os, subprocess, time
from pathlib import Path
def main(payload):
    far = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path("partial").write_text(json.dumps([os.getpid(), far.pid]))
    Path("partial").rename("pids.json")
    {then}
    return {{}}
"""


@pytest.mark.parametrize("how", ["kill", "timeout"])
def test_a_worker_is_killed_with_its_task_and_replaced(
    runner: TaskRunner,
    reused: MakeScript,
    wait_until: WaitUntil,
    in_time: Callable[..., Any],
    how: str,
) -> None:
    waits: list[Future[TaskOutcome]] = []
    sleeps = SLEEPER.format(then="time.sleep(600)")

    def begin(limit_s: float) -> tuple[Future[TaskOutcome], Path]:
        limits = Limits(timeout_s=1.5 * limit_s if how == "timeout" else None)
        spec = reused(f"t-{limit_s}", sleeps, limits=limits)
        future = runner.start(spec)
        waits.append(runner.start(reused(f"next-{limit_s}", ADD, {"x": 1})))
        return future, spec.work_dir / "pids.json"

    future, told = in_time(begin)
    waiting = waits[-1]
    family = [identity_of(pid) for pid in json.loads(told.read_text())]
    if how == "kill":
        runner.kill("t-2.0")
    outcome = future.result()
    assert outcome.end is (TaskEnd.CANCELED if how == "kill" else TaskEnd.TIMED_OUT)
    wait_until(lambda: not any(one is not None and is_alive(one) for one in family))
    assert waiting.result().succeeded
    assert waiting.result().process != outcome.process


def test_what_a_task_leaves_running_ends_and_its_worker_too(
    runner: TaskRunner, reused: MakeScript, wait_until: WaitUntil
) -> None:
    spec = reused("t", SLEEPER.format(then=""))
    outcome = runner.start(spec).result()
    assert outcome.succeeded
    for pid in json.loads((spec.work_dir / "pids.json").read_text()):
        wait_until(partial(lambda one: identity_of(one) is None, pid))
    after = runner.start(reused("after", ADD, {"x": 1})).result()
    assert after.succeeded
    assert pid_of(after) != pid_of(outcome)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("threading.Thread(target=time.sleep, args=(600,), daemon=True).start()", ""),
        ("threading.Timer(0.1, print, ['thread']).start()", "thread\n"),
        ("atexit.register(print, 'farewell')", "farewell\n"),
        ("globals()['pool'] = ThreadPoolExecutor(1); pool.submit(print, 'pool')", "pool\n"),
        ("signal.setitimer = None", ""),
    ],
)
def test_a_worker_that_cannot_be_put_back_in_order_is_replaced(
    runner: TaskRunner, reused: MakeScript, statement: str, said: str
) -> None:
    source = f"""
    import atexit, signal, threading, time
    from concurrent.futures import ThreadPoolExecutor
    def main(payload):
        {statement}
        return {{}}
    """
    spec = reused("t", source)
    first, second = runner.start(spec), runner.start(reused("after", ADD, {"x": 1}))
    assert first.result().error is None
    assert spec.log_path.read_text() == said
    assert second.result().succeeded
    assert second.result().process != first.result().process


def test_a_worker_that_has_grown_is_replaced(runner: TaskRunner, reused: MakeScript) -> None:
    hoard = "import json\ndef main(payload):\n    json.hoard = b'x' * (330 << 20)\n    return {}\n"
    outcomes = [runner.start(reused(f"t{i}", hoard)).result() for i in range(2)]
    assert all(outcome.succeeded for outcome in outcomes)
    assert outcomes[0].process != outcomes[1].process


def test_a_worker_is_replaced_after_a_thousand_tasks(
    runner: TaskRunner, reused: MakeScript
) -> None:
    spec = reused("t", ADD, {"x": 1})
    futures = [runner.start(replace(spec, task_id=f"t{i}")) for i in range(1002)]
    outcomes = [future.result() for future in futures]
    assert all(outcome.succeeded for outcome in outcomes)
    processes = [outcome.process for outcome in outcomes]
    assert len(set(processes[:1000])) == 1
    assert len(set(processes)) == 2


def test_usage_is_that_of_the_task(runner: TaskRunner, reused: MakeScript) -> None:
    busy = """
    import time
    def main(payload):
        held = b"x" * (200 << 20)
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        return {}
    """
    first = runner.start(reused("busy", busy)).result()
    second = runner.start(reused("idle", ADD, {"x": 1})).result()
    assert first.process == second.process
    assert first.user_s + first.sys_s >= 0.2 > second.user_s + second.sys_s
    assert first.peak_rss_bytes > 200 << 20 > second.peak_rss_bytes


def test_tasks_wait_for_a_free_worker(
    runner: TaskRunner, reused: MakeScript, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    started = Event()
    first = runner.start(
        reused("t0", f"def main(payload):\n    return {{'read': open({str(go)!r}).read()}}\n"),
        lambda _: started.set(),
    )
    later = [runner.start(reused(f"t{i}", ADD, {"x": i})) for i in range(1, 4)]
    assert started.wait(120)
    runner.kill("t2")
    canceled = later[1].result()
    assert (canceled.end, canceled.process) == (TaskEnd.CANCELED, None)
    assert not later[0].done()
    go.write_text("now")
    assert first.result().succeeded
    assert [future.result().end for future in later] == [
        TaskEnd.SUCCEEDED,
        TaskEnd.CANCELED,
        TaskEnd.SUCCEEDED,
    ]
    assert later[2].result().process == first.result().process


def test_as_many_workers_as_are_needed_at_once(
    tmp_path: Path, reused: MakeScript, host: PythonEnvironment
) -> None:
    meet = "import os\ndef main(payload):\n    open(payload['go']).read()\n    return {}\n"
    paths = [str(tmp_path / f"go{i}") for i in range(3)]
    for path in paths:
        os.mkfifo(path)
    with TaskRunner(SystemClock(), tmp_path / "run", most_workers=3) as runner:
        alone = [runner.start(reused(f"a{i}", ADD, {"x": i})).result() for i in range(3)]
        futures = [runner.start(reused(f"m{p[-1]}", meet, {"go": p})) for p in paths]
        for path in paths:
            Path(path).write_text("now")  # Waits until somebody reads it.
        together = [future.result() for future in futures]
    assert len({outcome.process for outcome in alone}) == 1
    assert len({outcome.process for outcome in together}) == 3


def test_those_who_do_not_share_never_meet(runner: TaskRunner, reused: MakeScript) -> None:
    shares = ["a", "a", "b", "b", "a"]
    specs = [reused(f"t{i}", ADD, {"x": i}, share=share) for i, share in enumerate(shares)]
    pids = [pid_of(runner.start(spec).result()) for spec in specs]
    assert pids[0] == pids[1]
    assert pids[2] == pids[3]
    assert len(set(pids)) == 3


def test_idle_workers_end(tmp_path: Path, reused: MakeScript, wait_until: WaitUntil) -> None:
    with TaskRunner(SystemClock(), tmp_path / "run", idle_s=0.1) as runner:
        first = runner.start(reused("t0", ADD, {"x": 1})).result().process
        assert first is not None
        wait_until(lambda: not is_alive(first))
        second = runner.start(reused("t1", ADD, {"x": 1})).result()
        assert second.succeeded
        assert second.process != first


def test_limits_hold_for_one_task_only(runner: TaskRunner, reused: MakeScript) -> None:
    hungry = "def main(payload):\n    return {'n': len(bytearray(300 << 20))}\n"
    small, large = Limits(memory_bytes=100 << 20, cpu_cores=1), Limits()
    specs = [reused("t0", hungry, limits=small), reused("t1", hungry, limits=large)]
    refused, granted = [runner.start(spec).result() for spec in specs]
    assert refused.error is not None
    assert refused.error.type == "MemoryError"
    assert "memory limit is 100 MiB" in refused.error.message
    assert granted.succeeded
    assert granted.process == refused.process


def test_processor_time_has_a_limit_in_a_worker_too(runner: TaskRunner, reused: MakeScript) -> None:
    busy = "def main(payload):\n    while True:\n        pass\n"
    assert runner.start(reused("t0", ADD, {"x": 1})).result().succeeded
    outcome = runner.start(reused("t1", busy, limits=Limits(cpu_s=0.5))).result()
    assert outcome.signal == signal.SIGXCPU
    assert runner.start(reused("t2", ADD, {"x": 1})).result().succeeded


@pytest.mark.parametrize("isolation", TaskIsolation)
def test_scribbling_on_every_file_hurts_nobody_else(
    runner: TaskRunner, script: MakeScript, isolation: TaskIsolation
) -> None:
    source = """
    import contextlib, os, time
    def main(payload):
        for fd in range(3, 100):
            with contextlib.suppress(OSError):
                os.write(fd, b'{"exit_code": []}\\n7\\n\\xff\\n')
        return {}
    """
    beside = runner.start(
        script("beside", "def main(p):\n    open(p['go']).read()\n    return {}\n")
    )
    scribbler = runner.start(script("t", source, isolation=isolation))
    assert scribbler.result().end in (TaskEnd.SUCCEEDED, TaskEnd.CRASHED, TaskEnd.FAILED)
    assert runner.start(script("after", ADD, {"x": 1}, isolation=isolation)).result().succeeded
    assert beside.result().end is TaskEnd.FAILED  # It was not told where to go; and not LOST.
