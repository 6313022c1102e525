"""The fork server itself: it is warm, it dies, it is left alone, its client dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from seamline.domain.clock import ManualClock, SystemClock
from seamline.domain.digests import digest_of
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.processes import identity_of, is_alive
from seamline.runtime.tasks import (
    TaskEnd,
    TaskIsolation,
    TaskKind,
    TaskRunner,
    TaskSpec,
    zygote_key,
)

MakeScript = Callable[..., TaskSpec]
WaitUntil = Callable[[Callable[[], object]], None]

PARENT = "import os\ndef main(payload):\n    return {'zygote': os.getppid()}\n"
TELL_AND_SLEEP = """
import json, os, subprocess, time
from pathlib import Path
def main(payload):
    far = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path("partial").write_text(json.dumps([os.getpid(), os.getppid(), far.pid]))
    Path("partial").rename("pids.json")
    time.sleep(600)
"""


def zygote_of(runner: TaskRunner, spec: TaskSpec) -> int:
    outcome = runner.start(spec).result()
    assert outcome.succeeded, outcome
    assert spec.output_path is not None
    return int(json.loads(spec.output_path.read_text())["zygote"])


def test_one_zygote_serves_many_tasks(runner: TaskRunner, script: MakeScript) -> None:
    zygotes = {zygote_of(runner, script(f"t{i}", PARENT)) for i in range(5)}
    assert len(zygotes) == 1
    assert os.getpid() not in zygotes


def test_a_killed_zygote_loses_its_tasks_and_the_next_start_works(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil
) -> None:
    spec = script("lost", TELL_AND_SLEEP)
    told = Event()
    future = runner.start(spec, lambda _: told.set())
    wait_until((spec.work_dir / "pids.json").exists)
    told.wait()  # Its start is reported a little later than it happens.
    task_pid, zygote_pid, _ = pids = json.loads((spec.work_dir / "pids.json").read_text())
    task = identity_of(task_pid)
    assert task is not None
    os.kill(zygote_pid, signal.SIGKILL)
    outcome = future.result()
    assert outcome.end is TaskEnd.LOST
    assert outcome.is_machinery
    assert outcome.started_at is not None
    wait_until(lambda: not is_alive(task))
    assert zygote_of(runner, script("next", PARENT)) != zygote_pid
    # With its zygote gone nobody is left to adopt what the task detached: we end it here.
    os.kill(pids[2], signal.SIGKILL)


def test_idle_zygotes_end_and_come_back(
    tmp_path: Path, script: MakeScript, wait_until: WaitUntil
) -> None:
    clock = ManualClock()
    with TaskRunner(clock, tmp_path / "run", idle_s=60) as runner:
        first = identity_of(zygote_of(runner, script("a", PARENT)))
        assert first is not None
        runner.end_idle()
        assert zygote_of(runner, script("b", PARENT)) == first.pid
        clock.advance(61)
        runner.end_idle()
        wait_until(lambda: not is_alive(first))
        assert zygote_of(runner, script("c", PARENT)) != first.pid


def test_what_a_task_imports_the_next_zygote_has(
    tmp_path: Path, script: MakeScript, wait_until: WaitUntil
) -> None:
    source = """
    import os, sys
    def main(payload):
        warm = "packaging" in sys.modules
        import packaging.version
        return {"warm": warm}
    """
    with TaskRunner(SystemClock(), tmp_path / "run") as runner:
        outcome = runner.start(script("cold", source)).result()
        assert {"packaging", "packaging.version"} <= set(outcome.imported)
        attempts = 0

        def is_warm() -> bool:
            nonlocal attempts
            attempts += 1
            spec = script(f"warm{attempts}", source)
            later = runner.start(spec).result()
            assert later.succeeded
            assert spec.output_path is not None
            return later.imported == () and json.loads(spec.output_path.read_text())["warm"]

        wait_until(is_warm)
        assert "packaging" in runner.preload["script:host"]


def test_a_task_teaches_nothing_of_its_own_folder(runner: TaskRunner, script: MakeScript) -> None:
    source = """
    import sys
    from pathlib import Path
    def main(payload):
        Path("beside.py").write_text("x = 1")
        sys.path.insert(0, "")
        sys.path.insert(0, str(Path.cwd()))
        import beside, packaging.version
        return {}
    """
    outcome = runner.start(script("t", source)).result()
    assert "packaging" in outcome.imported
    assert "beside" not in outcome.imported


def test_tasks_in_flight_are_not_disturbed_by_a_successor(
    runner: TaskRunner, script: MakeScript, wait_until: WaitUntil, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    waiting = script("w", f"def main(payload):\n    return {{'read': open({str(go)!r}).read()}}\n")
    started = Event()
    future = runner.start(waiting, lambda _: started.set())
    assert started.wait(120)
    first = zygote_of(runner, script("a", PARENT))
    runner.start(script("b", "import packaging.version\ndef main(p): return {}")).result()
    count = iter(range(10_000))
    wait_until(lambda: zygote_of(runner, script(f"c{next(count)}", PARENT)) != first)
    assert identity_of(first) is not None
    go.write_text("now")
    assert future.result().succeeded
    wait_until(lambda: identity_of(first) is None)


def test_a_module_that_starts_a_thread_is_left_out(tmp_path: Path, script: MakeScript) -> None:
    source = """
    import os, sys
    def main(payload):
        return {"warm": "packaging" in sys.modules,
                "threads": len(os.listdir(f"/proc/{os.getppid()}/task"))}
    """
    # Polars starts a thread when it is imported; a fork of it could wait for ever.
    # Tasks tell of its modules before they tell of itself.
    wanted = {"script:host": ["polars.exceptions", "polars.expr", "polars", "packaging.version"]}
    with TaskRunner(SystemClock(), tmp_path / "run", wanted) as runner:
        spec = script("t", source)
        assert runner.start(spec).result().succeeded
    assert spec.output_path is not None
    assert json.loads(spec.output_path.read_text()) == {"warm": True, "threads": 1}
    (log,) = (tmp_path / "run").glob("zygote-script-host-*.log")
    told = [line for line in log.read_text().splitlines() if "starts a thread" in line]
    assert told == ["polars: left out, for its import starts a thread"]  # it started anew once


def test_a_module_that_crashes_the_interpreter_is_given_up(
    tmp_path: Path, script: MakeScript
) -> None:
    python = tmp_path / "python"
    crash = 'case "$(cat)" in *crashing_module*) kill -SEGV $$;; esac'
    python.write_text(f'#!/bin/sh\n{crash}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = PythonEnvironment(python, "sha256:" + "0" * 64, (), is_host=False)
    wanted = {zygote_key(environment, TaskKind.SCRIPT): ["crashing_module", "packaging"]}
    with TaskRunner(SystemClock(), tmp_path / "run", wanted) as runner:
        zygote_of(runner, script("t", PARENT, environment=environment))
        assert runner.preload == {}


def test_a_module_that_cannot_be_imported_does_not_matter(
    tmp_path: Path, script: MakeScript
) -> None:
    with TaskRunner(SystemClock(), tmp_path / "run", {"script:host": ["no.such"]}) as runner:
        zygote_of(runner, script("t", PARENT))


def test_more_to_preload_than_an_argument_list_takes(tmp_path: Path, script: MakeScript) -> None:
    missing = [f"no_such_module_of_a_long_name_{number:06}" for number in range(4000)]
    source = "import sys\ndef main(payload):\n    return {'zygote': 'packaging' in sys.modules}\n"
    assert len(json.dumps(missing)) > 128 << 10
    with TaskRunner(SystemClock(), tmp_path / "run", {"script:host": [*missing, "packaging"]}) as r:
        assert zygote_of(r, script("t", source)) == 1
    (log,) = (tmp_path / "run").glob("zygote-script-host-*.log")
    assert f"{missing[-1]}: ModuleNotFoundError" in log.read_text()


def test_a_zygote_started_anew_still_has_its_configuration(
    tmp_path: Path, script: MakeScript
) -> None:
    pytest.importorskip("polars")
    source = "import sys\ndef main(payload):\n    return {'zygote': sys.stdin.read() == ''}\n"
    many = ["polars", *(f"no_such_module_of_a_long_name_{number:06}" for number in range(4000))]
    with TaskRunner(SystemClock(), tmp_path / "run", {"script:host": many}) as runner:
        assert zygote_of(runner, script("t", source)) == 1


def test_an_interpreter_that_dies_at_once_is_told_with_its_words(
    runner: TaskRunner, script: MakeScript, tmp_path: Path
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho libpython is missing >&2\nexit 127\n")
    broken.chmod(0o755)
    environment = PythonEnvironment(broken, "sha256:" + "0" * 64, (), is_host=False)
    outcome = runner.start(script("t", PARENT, environment=environment)).result()
    assert outcome.end is TaskEnd.NOT_STARTED
    assert outcome.error is not None
    assert "libpython is missing" in outcome.error.message
    zygote_of(runner, script("host", PARENT))


def test_secrets_of_the_server_do_not_reach_tasks(tmp_path: Path, script: MakeScript) -> None:
    source = "import os\ndef main(payload):\n    return dict(os.environ)\n"
    ours = {**os.environ, "SEAMLINE_TOKEN": "secret", "PYTHONPATH": "/x", "HOME": "/home/h"}
    with TaskRunner(SystemClock(), tmp_path / "run", environ=ours) as runner:
        spec = script("t", source)
        assert runner.start(spec).result().succeeded
    assert spec.output_path is not None
    seen = json.loads(spec.output_path.read_text())
    assert "SEAMLINE_TOKEN" not in seen
    assert "PYTHONPATH" not in seen
    assert (seen["HOME"], seen["OMP_NUM_THREADS"]) == ("/home/h", "1")


_CLIENT = """
import sys, threading
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.tasks import TaskKind, TaskRunner, TaskSpec

folder = Path(sys.argv[1])
runner = TaskRunner(SystemClock(), folder / "run")
host = PythonEnvironment(Path(sys.executable), "sha256:0", (), is_host=True)
spec = TaskSpec(
    "t", TaskKind.SCRIPT, folder / "s.py", folder / "in.json", folder / "work", folder / "log",
    host, output_path=folder / "out.json",
)
# From a thread that ends at once: the zygote must outlive it.
starter = threading.Thread(target=runner.start, args=(spec,))
starter.start()
starter.join()
threading.Event().wait()
"""


def test_a_killed_client_leaves_no_orphan(tmp_path: Path, wait_until: WaitUntil) -> None:
    (tmp_path / "s.py").write_text(textwrap.dedent(TELL_AND_SLEEP))
    (tmp_path / "in.json").write_text("{}")
    client = subprocess.Popen([sys.executable, "-c", _CLIENT, str(tmp_path)])
    try:
        told = tmp_path / "work" / "pids.json"
        wait_until(told.exists)
        family = [identity_of(pid) for pid in json.loads(told.read_text())]
    finally:
        client.kill()
        client.wait()
    assert len(family) == 3
    for member in family:
        assert member is not None
        wait_until(partial(lambda one: not is_alive(one), member))


def test_tasks_without_libraries_have_a_zygote_of_their_own(
    tmp_path: Path, script: MakeScript, wait_until: WaitUntil, host: PythonEnvironment
) -> None:
    hidden = """
    import os, sys
    def main(payload):
        warm = "packaging" in sys.modules
        __import__("packaging.version")
        return {"zygote": os.getppid(), "warm": warm}
    """
    full, light = (
        zygote_key(host, TaskKind.SCRIPT, is_light=is_light) for is_light in (False, True)
    )
    with TaskRunner(SystemClock(), tmp_path / "run", {full: ["json.tool"]}) as runner:

        def ask(name: str, **fields: object) -> dict[str, int]:
            spec = script(name, hidden, **{"source_digest": None, **fields})
            assert runner.start(spec).result().succeeded
            answer: dict[str, int] = json.loads((spec.work_dir.parent / "output.json").read_text())
            return answer

        digest = digest_of(textwrap.dedent(hidden).encode())
        first = ask("first", is_light=True, source_digest=digest)
        assert not first["warm"]
        # It does import something, which its source does not say: it belongs to the others.
        assert light not in runner.preload
        assert "packaging" in runner.preload[full]
        again = ask("again", is_light=True, source_digest=digest)
        assert again["zygote"] == zygote_of(runner, script("other", PARENT))
        assert again["zygote"] != first["zygote"]
        assert again["warm"]
        assert zygote_of(runner, script("still", PARENT, is_light=True)) == first["zygote"]
        # Workers serve all that their run has, whatever it imports.
        shared = {"is_light": True, "isolation": TaskIsolation.REUSED, "share": "r"}
        assert zygote_of(runner, script("worker", PARENT, **shared)) == again["zygote"]
