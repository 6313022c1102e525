"""A person with a terminal and a loop of scenarios: submit, watch, look into, mend, redo.

The installed program against a server of its own. No `from __future__ import annotations`: kfp
reads the annotations of components.
"""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

IMAGE = "python:3.11"
PROGRAM = str(Path(sys.executable).with_name("seamline"))
PATIENCE_S = 300


@dsl.component(base_image=IMAGE)
def find_rows(n: int) -> list[int]:
    return list(range(n))


@dsl.component(base_image=IMAGE)
def prepare(row: int) -> int:
    return row


@dsl.component(base_image=IMAGE)
def train(row: int, ready: str) -> int:
    from pathlib import Path

    print("training", row)
    if row % 4 == 3 and not Path(ready).exists():
        raise ValueError(f"scenario {row} has no rows")
    return row


@dsl.component(base_image=IMAGE)
def pass_once_open(gate: str) -> int:
    import time
    from pathlib import Path

    print("waiting for", gate, flush=True)
    deadline = time.monotonic() + 120
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return 1


@dsl.component(base_image=IMAGE)
def second_time(gate: str) -> int:
    import time
    from pathlib import Path

    if Path(gate).exists():
        print("and again")
        return 2
    print("once", flush=True)
    deadline = time.monotonic() + 120
    while not Path(gate).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    raise RuntimeError("not the first time")


@dsl.pipeline
def stubborn(gate: str):
    second_time(gate=gate).set_retry(1, backoff_duration="0s")


@dsl.pipeline
def fit_all(n: int, ready: str):
    found = find_rows(n=n)
    with dsl.ParallelFor(found.output, name="scenarios") as row:
        prepared = prepare(row=row)
        with dsl.If(prepared.output != 0, name="enough-rows"):
            train(row=prepared.output, ready=ready)


@dsl.pipeline
def fit_one(row: int, ready: str, share: float = 0.5, tags: list[str] = []):  # noqa: B006
    train(row=row, ready=ready)


@dsl.pipeline
def gated(gate: str):
    prepare(row=pass_once_open(gate=gate).output)


@dataclass
class Person:
    """Types commands in a folder; a server stands by."""

    folder: Path
    environ: dict[str, str]
    runs: dict[str, Any] = field(default_factory=dict)

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *words], cwd=self.folder, env=self.environ, text=True, **more
        )

    def types(self, *words: str, code: int = 0) -> str:
        """What comes out, on a pipe."""
        done = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def data(self, *words: str, code: int = 0) -> Any:
        text = self.types(*words, "--json", code=code)
        return json.JSONDecoder().raw_decode(text)[0]

    @property
    def ready(self) -> Path:
        return self.folder / "ready"


@pytest.fixture(scope="module")
def person(start_server: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Person:
    address, _ = start_server()
    folder = tmp_path_factory.mktemp("runs")
    for pipeline in (fit_all, fit_one, gated, stubborn):
        compiler.Compiler().compile(pipeline, str(folder / f"{pipeline.name}.yaml"))
    environ = {name: text for name, text in os.environ.items() if "SEAMLINE" not in name}
    return Person(folder, {**environ, "SEAMLINE_URL": address["url"]})


@pytest.fixture(scope="module")
def loop(person: Person) -> Any:
    """A run of eight scenarios, of which two failed; each line that following it printed."""
    said = person.types(
        "run", "submit", "fit-all.yaml", "-a", "n=8", "-a", f"ready={person.ready}", "--no-cache",
        "--name", "nightly", "--follow",
    )  # fmt: skip
    run = person.data("run", "list", "--pipeline", "fit-all", "--limit", "1")[0]
    return {"id": run["id"], "said": said, "run": run}


# -- following ---------------------------------------------------------------------------------


def test_in_a_pipe_each_change_is_a_plain_line(loop: Any) -> None:
    lines = loop["said"].splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in lines)
    assert not re.search(r"[^\x20-\x7e\n]", loop["said"].replace("…", "")), "no control characters"
    ended = [line.split(" ", 1)[1] for line in lines if " running" not in line]
    told = {line.split(" ")[0]: line for line in ended}
    assert re.fullmatch(
        r"for-loop-1\[1\]/prepare succeeded [\d.]+ .+", told["for-loop-1[1]/prepare"]
    )
    assert told["for-loop-1[0]/condition-2/train"].endswith("left out")
    assert told["for-loop-1[3]/condition-2/train"].endswith("ValueError: scenario 3 has no rows")
    assert len(told) == 1 + 8 * 2 + 1, "each task once, and the run"
    assert ended[-1].startswith(f"run {loop['id']} partially failed: ")


def test_json_lines_tell_the_same_and_a_run_that_ended_is_told_from_its_beginning(
    person: Person, loop: Any
) -> None:
    entries = [
        json.loads(line)
        for line in person.types("run", "follow", loop["id"], "--json").splitlines()
    ]
    assert [entries[0]["task"], entries[0]["state"]] == [None, "running"]
    assert [entries[-1]["task"], entries[-1]["state"]] == [None, "partially_failed"]
    failed = {one["task"]: one["sentence"] for one in entries if one["state"] == "failed"}
    assert failed == {
        f"for-loop-1[{n}]/condition-2/train": f"ValueError: scenario {n} has no rows"
        for n in (3, 7)
    }


def read_terminal(process: subprocess.Popen[Any], ours: int, until: str | None = None) -> str:
    """What was written to the terminal, until it says something, or nobody writes any more."""
    shown = b""
    deadline = time.monotonic() + PATIENCE_S
    while until is None or until.encode() not in shown:
        assert time.monotonic() < deadline, shown
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # How a terminal says that nobody writes to it any more.
            break
        if not chunk:
            break
        shown += chunk
    return shown.decode(errors="replace")


def test_on_a_terminal_it_is_a_view_that_goes_and_leaves_the_outcome(
    person: Person, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    ours, theirs = pty.openpty()
    environ = {**person.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        [PROGRAM, "run", "submit", "gated.yaml", "-a", f"gate={gate}", "--name=hold", "--follow"],
        cwd=person.folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    first = read_terminal(process, ours, until="pass-once-open")
    assert "hold" in first and "▸" in first and "of 2 tasks" in first
    gate.touch()
    rest = read_terminal(process, ours)
    os.close(ours)
    assert process.wait(PATIENCE_S) == 0
    assert "\x1b[2K" in rest, "the view is wiped away"
    final = rest.rpartition("\x1b[2K")[2]
    assert "hold  " in final and "succeeded after" in final and "pass-once-open  succeeded" in final


def test_ctrl_c_leaves_the_run_going_and_says_how_to_come_back(
    person: Person, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    run_id = person.data("run", "submit", "gated.yaml", "-a", f"gate={gate}")["id"]
    process = person.start(
        "run", "follow", run_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while "pass-once-open running" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert f"Run {run_id} goes on." in said
    assert f"Come back: seamline run follow {run_id}" in said
    assert "Traceback" not in said
    assert person.data("run", "show", run_id)["state"] == "running"
    gate.touch()
    assert "succeeded after" in person.types("run", "wait", run_id)
    assert "waiting for" in person.types("run", "logs", run_id, "pass-once-open", "--follow")


def test_who_cancels_is_told_and_whoever_waits_for_it_fails(person: Person, tmp_path: Path) -> None:
    words = ("run", "submit", "gated.yaml", "-a", f"gate={tmp_path / 'never'}")
    run_id = person.data(*words)["id"]
    waiting = person.start("run", "wait", run_id, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run_id in person.types("run", "cancel", run_id)
    out, said = waiting.communicate(timeout=PATIENCE_S)
    assert (waiting.returncode, out) == (1, "")
    assert said.startswith(f"refused: Run {run_id} canceled")
    assert person.data("run", "wait", run_id, code=1)["state"] == "canceled"
    assert "has ended already" in person.types("run", "cancel", run_id, code=1)


# -- looking into it ---------------------------------------------------------------------------


def test_show_folds_the_loop_and_says_what_to_do(person: Person, loop: Any) -> None:
    said = person.types("run", "show", loop["id"])
    assert f"nightly  {loop['id']}" in said
    assert re.search(r"for-loop-1 +failed +\S+ s +6 succeeded, 2 failed +\(scenarios\)", said)
    assert "for-loop-1[3]/condition-2/train: ValueError: scenario 3 has no rows" in said
    assert f"arguments   n=8  ready={person.ready}" in said
    assert "for-loop-1[1]" not in said
    steps = said.partition("next\n")[2].splitlines()
    logs = steps[0].strip().removeprefix("seamline ").replace("'", "").split()
    assert "training 3" in person.types(*logs), "the next step can be copied"
    assert steps[1].strip() == f"seamline run retry {loop['id']} --follow"


def test_show_within_and_all_and_failed(person: Person, loop: Any) -> None:
    inside = person.types("run", "show", loop["id"], "--within", "for-loop-1[3]")
    assert re.search(r"\[3\]/condition-2/train +failed +\S+ s +ValueError: scenario 3", inside)
    assert "for-loop-1[6]/condition-2/train" in person.types("run", "show", loop["id"], "--all")
    failed = person.data("run", "show", loop["id"], "--failed")["tasks"]
    assert [one["item"] for one in failed] == [None, None]
    assert [one["name"] for one in failed] == [
        "for-loop-1[3]/condition-2/train",
        "for-loop-1[7]/condition-2/train",
    ]
    said = person.types("run", "show", loop["id"], "--within", "for-loop-1[99]", code=1)
    assert said.startswith("not_found: There is nothing in 'for-loop-1[99]'")


def test_logs_of_a_task_of_all_that_failed_and_of_none(person: Person, loop: Any) -> None:
    task = "for-loop-1[3]/condition-2/train"
    assert person.types("run", "logs", loop["id"], task).startswith("training 3\n")
    said = person.types("run", "logs", loop["id"], "--failed")
    assert f"── {task}, attempt 1 ──\ntraining 3\n" in said and "training 7" in said
    assert [one["task"] for one in person.data("run", "logs", loop["id"], "--failed")] == [
        task,
        "for-loop-1[7]/condition-2/train",
    ]
    nearest = person.types("run", "logs", loop["id"], "for-loop-1[3]/conditon-2/train", code=1)
    assert f"Did you mean {task}?" in nearest
    assert "is a loop: it prints nothing" in person.types(
        "run", "logs", loop["id"], "for-loop-1", code=1
    )
    assert "Known: 1 to 1." in person.types(
        "run", "logs", loop["id"], task, "--attempt", "2", code=1
    )


def test_a_followed_log_goes_on_with_the_next_attempt(person: Person, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run_id = person.data("run", "submit", "stubborn.yaml", "-a", f"gate={gate}")["id"]
    process = person.start(
        "run", "logs", run_id, "second-time", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "once\n"
    gate.touch()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out.endswith("and again\n") and "── attempt 2 ──" in err
    assert "RuntimeError" in person.types(
        "run", "logs", run_id, "second-time", "--attempt", "1", "--follow"
    )
    told = person.types("run", "follow", run_id)
    assert "second-time failed, attempt 1, and goes again: RuntimeError: not the first" in told
    assert re.search(r"second-time succeeded \S+ s, attempt 2", told)


def test_the_list_says_how_far_each_is(person: Person, loop: Any) -> None:
    said = person.types("run", "list", "--state", "partially_failed")
    (line,) = [line for line in said.splitlines() if line.startswith(loop["id"])]
    assert re.search(r"nightly +dataops +partially failed +17/17, 2 failed", line)
    choices = person.types("run", "list", "--state", "faild", code=2)
    assert "'partially_failed'" in choices


# -- doing it again ----------------------------------------------------------------------------


def test_explain_rerun_and_retry(person: Person, loop: Any) -> None:
    run_id = loop["id"]
    changed = person.data("run", "rerun", run_id, "-a", "n=9", "--wait")
    states = {one["name"]: one["state"] for one in changed["tasks"]}
    assert states["find-rows"] == "succeeded", "its argument differs"
    assert states["for-loop-1[1]/condition-2/train"] == "skipped", "nothing differs for it"
    assert states["for-loop-1[8]/condition-2/train"] == "succeeded"
    assert changed["arguments"]["n"] == 9
    assert "find-rows" in person.types("run", "explain", changed["id"], "find-rows")
    why = person.data("run", "explain", changed["id"], "find-rows")
    assert why["differences"] == ["parameters n: 8 → 9"]
    cached = person.types("run", "explain", changed["id"], "for-loop-1[1]/prepare")
    assert "(cached): It was not run" in cached and run_id in cached
    assert "cached, from run" in person.types("run", "follow", changed["id"])
    told = person.start(
        "run", "logs", changed["id"], "for-loop-1[1]/prepare", stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ).communicate(timeout=PATIENCE_S)  # fmt: skip
    assert f"seamline run logs {run_id} 'for-loop-1[1]/prepare'" in told[1]

    anew = person.data("run", "rerun", run_id, "--no-cache", "--wait")
    assert "skipped" not in {one["state"] for one in anew["tasks"]}
    onward = person.data("run", "rerun", run_id, "--from", "for-loop-1", "--no-cache", "--wait")
    states = {one["name"]: one["state"] for one in onward["tasks"]}
    assert (states["find-rows"], states["for-loop-1[1]/prepare"]) == ("skipped", "succeeded")

    person.ready.touch()
    said = person.types("run", "retry", run_id, "--follow")
    again = {line.split()[1] for line in said.partition("retried")[2].splitlines()[1:]}
    tasks = {f"for-loop-1[{n}]/condition-2/train" for n in (3, 7)}
    assert again == {*tasks, "run"}, "only what failed was done again"
    assert said.splitlines()[-1].endswith(f"run {run_id} succeeded")
    first = person.types("run", "logs", run_id, "for-loop-1[3]/condition-2/train", "--attempt", "1")
    assert "ValueError: scenario 3 has no rows" in first
    assert "has nothing to retry" in person.types("run", "retry", run_id, code=1)


# -- asking for it -----------------------------------------------------------------------------


def test_arguments_are_read_by_their_types_and_a_file_is_overridden(person: Person) -> None:
    (person.folder / "arguments.json").write_text('{"row": 1, "share": 1, "tags": ["a"]}')
    found = person.data(
        "run", "submit", "fit-one.yaml", "--arguments", "arguments.json", "-a", "row=2",
        "-a", f"ready={person.ready}", "--team", "pilots", "--slots", "1",
        "--failure-policy", "fast", "--max-age", "7d", "--cache", "--wait",
    )  # fmt: skip
    assert found["arguments"] == {
        "row": 2, "share": 1.0, "tags": ["a"], "ready": str(person.ready),
    }  # fmt: skip
    assert found["options"] == {
        "failure_policy": "fast", "enable_cache": True, "cache_max_age_s": 604800.0, "slots": 1,
    }  # fmt: skip
    assert (found["team"], found["state"]) == ("pilots", "succeeded")
    again = person.data("run", "rerun", found["id"], "-a", 'tags=["b", "c"]', "--wait")
    assert again["arguments"]["tags"] == ["b", "c"]
    assert again["options"] == {"failure_policy": "fast", "slots": 1}


def test_a_grid_of_scenarios_is_one_run(person: Person) -> None:
    (person.folder / "scenarios.yaml").write_text("grid:\n  row: [1, 2]\n  share: [0.1, 0.9]\n")
    found = person.data(
        "run", "submit", "fit-one.yaml", "--scenarios", "scenarios.yaml",
        "-a", f"ready={person.ready}", "--wait",
    )  # fmt: skip
    items = {one["name"]: one["item"] for one in found["tasks"] if one["kind"] == "iteration"}
    assert items["scenarios[3]"] == {"row": 2, "share": 0.9} and len(items) == 4
    assert "4 succeeded" in person.types("run", "show", found["id"])


REFUSALS = {
    "-a row=x -a ready=y": "invalid_input: Parameter 'row' has to be an integer; a string came: x.",
    "-a rwo=1": "invalid_input: The pipeline has no parameter 'rwo'. Did you mean row?",
    "-a row=1 -a ready=y --max-age soon": "invalid_input: 'soon' is not a duration.",
    "-a row=1 -a ready=y --arguments none.json": "invalid_input: none.json cannot be read",
    "-a row=1 -a ready=y --scenarios fit-one.yaml": "invalid_input: 'components' is no part of",
    "-a row=1 -a ready=y --demand-fidelity remote": "refused: Task 'train' would run as forked",
}
USAGE = {
    "--isolation in_process": "is not one of 'forked', 'reuse', 'container'",
    "--failure-policy quick": "is not one of 'slow', 'fast'",
    "--slots 0": "0 is not in the range x>=1",
    "--demand-fidelity forkd": "'forked'",
    "--wait --follow": "--wait and --follow are two ways to wait",
}


def test_what_cannot_be_is_told_with_what_can(person: Person) -> None:
    before = len(person.data("run", "list"))
    for words, said in REFUSALS.items():
        found = person.types("run", "submit", "fit-one.yaml", *words.split(), code=1)
        assert found.startswith(said), found
    for words, said in USAGE.items():
        given = ("-a", "row=1", "-a", "ready=y", *words.split())
        assert said in person.types("run", "submit", "fit-one.yaml", *given, code=2)
    assert len(person.data("run", "list")) == before, "nothing was started"


def test_a_server_runs_nothing_inside_of_itself(person: Person) -> None:
    import urllib.error
    import urllib.request

    ir = (person.folder / "fit-one.yaml").read_text()
    body = {"ir": ir, "arguments": {"row": 1, "ready": "y"}, "options": {"isolation": "in_process"}}
    request = urllib.request.Request(
        f"{person.environ['SEAMLINE_URL']}/api/v1/runs",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=60)
    with caught.value as error:
        said = json.load(error)["error"]
    assert said["code"] == "refused"
    assert "seamline run debug" in said["next_step"]
