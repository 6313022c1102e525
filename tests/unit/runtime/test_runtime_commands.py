"""Commands: what reaches a program, what becomes of it, and what cannot be one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.runtime.commands import (
    Command,
    check_words,
    command_task,
    resolve_host_command,
)
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.processes import ProcessIdentity, identity_of, is_alive
from seamline.runtime.tasks import Limits, TaskRunner, TaskSpec

MakeCommand = Callable[..., TaskSpec]
WaitUntil = Callable[[Callable[[], object]], None]
PATH = os.environ["PATH"]
LONGEST = 32 * os.sysconf("SC_PAGE_SIZE") - 1


@pytest.fixture
def command(tmp_path: Path, host: PythonEnvironment) -> MakeCommand:
    """command("t1", "sh", "-c", "…", env=…, limits=…) → TaskSpec with its own folder."""

    def make(
        task_id: str, *words: str, env: dict[str, str] | None = None, limits: Limits | None = None
    ) -> TaskSpec:
        folder = tmp_path / task_id
        return command_task(
            task_id,
            Command(resolve_host_command(words, PATH, allowed=True), words, env or {}),
            work_dir=folder,
            log_path=folder / "log.txt",
            host=host,
            limits=limits,
        )

    return make


def test_words_arrive_as_they_are(runner: TaskRunner, command: MakeCommand) -> None:
    words = ["", " a  b ", "it's", '"', "$HOME `id` $(id) {{x}}", "line\nbreak", "\\", "é☃", "-n"]
    spec = command("t", "sh", "-c", 'for word; do printf "<%s>" "$word"; done', "sh", *words)
    assert runner.start(spec).result().succeeded
    assert spec.log_path.read_text() == "".join(f"<{word}>" for word in words)


def test_it_is_a_process_of_its_own_that_inherits_only_what_it_should(
    runner: TaskRunner, command: MakeCommand
) -> None:
    script = """
        echo $$ $(cut -d ' ' -f 5 /proc/$$/stat); pwd; echo $COLOUR
        ls /proc/$$/fd > listed  # in a pipe, the shell would have that pipe open, too
        tr '\\n' ' ' < listed
        echo; grep -E '^Sig(Ign|Blk)' /proc/self/status; readlink /proc/$$/fd/0
    """
    seen: list[ProcessIdentity] = []
    spec = command("t", "sh", "-c", script, env={"COLOUR": "red"})
    outcome = runner.start(spec, seen.append).result()
    assert outcome.succeeded, spec.log_path.read_text()
    numbers, folder, colour, descriptors, *signals, stdin = spec.log_path.read_text().splitlines()
    assert outcome.process is not None
    assert seen == [outcome.process]
    assert numbers.split() == [str(outcome.process.pid)] * 2
    assert (folder, colour) == (str(spec.work_dir), "red")
    # A shell may keep one of its own, far from those that a program expects.
    numbered = sorted(map(int, descriptors.split()))
    assert numbered[:3] == [0, 1, 2] and all(number >= 10 for number in numbered[3:])
    # A program that writes into a closed pipe has to end, as it does everywhere else. (32 and 33
    # are the C library's own: posix_spawn makes children ignore them, no program can change it.)
    own = 1 << 31 | 1 << 32
    assert [int(line.split()[1], 16) & ~own for line in signals] == [0, 0]
    assert stdin == os.devnull
    assert outcome.peak_rss_bytes > 100_000
    assert "COLOUR" not in os.environ


def test_it_is_called_by_the_name_that_was_given(
    runner: TaskRunner, tmp_path: Path, host: PythonEnvironment
) -> None:
    made = Command(Path(shutil.which("sh") or ""), ("another-name", "-c", "echo $0"))
    spec = command_task(
        "t", made, work_dir=tmp_path / "t", log_path=tmp_path / "t" / "log.txt", host=host
    )
    assert runner.start(spec).result().succeeded
    assert spec.log_path.read_text() == "another-name\n"


def test_a_code_other_than_0_fails_with_the_last_lines(
    runner: TaskRunner, command: MakeCommand
) -> None:
    spec = command("t", "sh", "-c", "echo first; echo no such table >&2; exit 7")
    outcome = runner.start(spec).result()
    assert (outcome.end, outcome.exit_code) == (TaskEnd.FAILED, 7)
    assert outcome.error is not None
    assert outcome.error.message == "The task exited with code 7."
    assert outcome.error.log_tail == "first\nno such table"


def test_a_signal_and_a_timeout_and_a_kill(
    runner: TaskRunner, command: MakeCommand, wait_until: WaitUntil, in_time: Callable[..., Any]
) -> None:
    crashed = runner.start(command("crash", "sh", "-c", "kill -SEGV $$")).result()
    assert (crashed.end, crashed.signal) == (TaskEnd.CRASHED, 11)
    family = "sleep 600 & echo $! > child.partial; mv child.partial child; wait"
    killed = command("killed", "sh", "-c", family)
    killing = runner.start(killed)

    def begin(limit_s: float) -> tuple[Future[TaskOutcome], Path]:
        spec = command(f"late-{limit_s}", "sh", "-c", family, limits=Limits(timeout_s=limit_s))
        return runner.start(spec), spec.work_dir / "child"

    wait_until((killed.work_dir / "child").exists)
    late, told = in_time(begin)
    pids = [int(path.read_text()) for path in (told, killed.work_dir / "child")]
    children = [found for pid in pids if (found := identity_of(pid)) is not None]
    runner.kill("killed")
    ends = [future.result().end for future in (late, killing)]
    assert ends == [TaskEnd.TIMED_OUT, TaskEnd.CANCELED]
    wait_until(lambda: not any(is_alive(child) for child in children))


def test_limits_hold_for_the_program(runner: TaskRunner, command: MakeCommand) -> None:
    limits = Limits(memory_bytes=64 << 20, cpu_s=9)
    allowed = command("small", sys.executable, "-c", "bytearray(8 << 20)", limits=limits)
    refused = command("large", sys.executable, "-c", "bytearray(640 << 20)", limits=limits)
    asked = command("cpu", "sh", "-c", "ulimit -t", limits=limits)
    ends = [runner.start(spec).result() for spec in (allowed, refused, asked)]
    assert [outcome.succeeded for outcome in ends] == [True, False, True]
    assert "MemoryError" in refused.log_path.read_text()
    assert int(asked.log_path.read_text()) in (9, 10)


def test_its_log_has_a_bound(tmp_path: Path, command: MakeCommand) -> None:
    spec = command("t", "head", "-c", "3000000", "/dev/zero")
    with TaskRunner(SystemClock(), tmp_path / "run", log_limit_bytes=1 << 20) as runner:
        outcome = runner.start(spec).result()
    assert outcome.succeeded
    assert outcome.log_full
    assert 1 << 20 <= spec.log_path.stat().st_size < (1 << 20) + 200


def test_a_command_that_was_altered_is_not_run(runner: TaskRunner, command: MakeCommand) -> None:
    spec = command("t", "echo", "true")
    spec.input_path.write_text(spec.input_path.read_text().replace("true", "evil"))
    outcome = runner.start(spec).result()
    assert outcome.end is TaskEnd.FAILED
    assert outcome.error is not None
    assert f"expected {spec.source_digest}" in outcome.error.message
    assert "evil\n" not in spec.log_path.read_text()


def test_a_program_that_the_kernel_refuses_is_named(
    runner: TaskRunner, command: MakeCommand, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\0 no program")
    program.chmod(0o755)
    outcome = runner.start(command("t", str(program))).result()
    assert outcome.end is TaskEnd.FAILED
    assert outcome.error is not None
    assert str(program) in outcome.error.message


def test_nobody_else_can_read_a_command(command: MakeCommand) -> None:
    spec = command("t", "echo", "--password=x")
    assert spec.input_path.stat().st_mode & 0o777 == 0o600


# -- what cannot be a command ------------------------------------------------------------------


def test_the_longest_word_arrives(runner: TaskRunner, command: MakeCommand) -> None:
    spec = command("t", "sh", "-c", "echo ${#1}", "sh", "x" * LONGEST)
    assert runner.start(spec).result().succeeded
    assert spec.log_path.read_text() == f"{LONGEST}\n"


@pytest.mark.parametrize("word", ["x" * (LONGEST + 1), "é" * (LONGEST // 2 + 1)])
def test_a_longer_word_is_refused_with_its_place_and_length(
    command: MakeCommand, word: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        command("t", "sh", "-c", "true", word)
    size = len(word.encode())
    assert f"Word 3 of the command 'sh' has {size} bytes" in caught.value.message
    assert caught.value.details == {"index": 3, "size_bytes": size}
    assert "artifact" in caught.value.next_step


def test_the_most_words_arrive_and_more_are_refused(
    runner: TaskRunner, command: MakeCommand
) -> None:
    limit = os.sysconf("SC_ARG_MAX")
    inherited = sum(len(name) + len(value) + 10 for name, value in os.environ.items())
    most = (limit - inherited - 8192) // 1009
    assert runner.start(command("t", "sh", "-c", "true", *["x" * 1000] * most)).result().succeeded
    with pytest.raises(InvalidInput, match=f"the kernel takes at most {limit}"):
        command("u", "sh", "-c", "true", *["x" * 1000] * (limit // 1000 + 1))


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ([], {}, "at least one word"),
        (["a", "b\0c"], {}, "Word 1 of the command 'a' holds a zero"),
        (["a"], {"B": "x" * LONGEST}, f"variable B has {LONGEST + 2} bytes"),
        (["a"], {"B=C": ""}, "'B=C' cannot be an environment variable"),
        (["a"], {"B": "\0"}, "'B' cannot be an environment variable"),
        (["a", "\ud800" * LONGEST], {}, "Word 1"),
    ],
)
def test_what_the_kernel_would_not_take(words: list[str], env: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_words(words, env)
    assert said in caught.value.message


# -- containers as processes of the host -------------------------------------------------------


def test_a_program_on_the_path_resolves(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "notes").write_text("")
    (tmp_path / "tool").chmod(0o755)
    found = resolve_host_command(["tool", "-x"], str(tmp_path), allowed=True)
    assert found == tmp_path / "tool"
    assert resolve_host_command([str(found)], "", allowed=True) == found
    for word in ("notes", str(tmp_path / "notes"), str(tmp_path)):
        with pytest.raises(NotFound, match="is no program on this machine's PATH"):
            resolve_host_command([word], str(tmp_path), allowed=True)
    with pytest.raises(NotFound) as caught:
        resolve_host_command(["tolo"], f"{tmp_path}:/none", allowed=True)
    assert "Did you mean tool?" in caught.value.next_step


def test_without_the_operators_word_nothing_runs_outside_its_image() -> None:
    with pytest.raises(Refused) as caught:
        resolve_host_command(["sh"], PATH, allowed=False)
    assert "SEAMLINE_HOST_CONTAINERS=1" in caught.value.next_step
    assert "host_process" in caught.value.next_step


@pytest.mark.parametrize("words", [[], [""]])
def test_an_images_own_entry_point_is_not_here(words: list[str]) -> None:
    with pytest.raises(Refused, match="no command"):
        resolve_host_command(words, PATH, allowed=True)


def test_a_path_inside_the_image_is_not_here() -> None:
    with pytest.raises(NotFound, match="relative to a folder of its image"):
        resolve_host_command(["./run.sh"], PATH, allowed=True)
