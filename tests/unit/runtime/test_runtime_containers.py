"""Containers by a real engine: what reaches them, what becomes of them, what is left of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, SeamlineError, Unavailable
from seamline.runtime.container_engine import ContainerEngine, find_engine
from seamline.runtime.containers import (
    ContainerRun,
    EngineKind,
    EngineTraits,
    Mount,
    container_name,
    run_words,
    split_environment,
    write_mount,
)
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.outcomes import TaskEnd, TaskOutcome
from seamline.runtime.processes import ProcessIdentity, is_alive
from seamline.runtime.tasks import TaskRunner, TaskSpec

ImportImage = Callable[..., AbstractContextManager[str]]
WaitUntil = Callable[[Callable[[], object]], None]
TRAITS = EngineTraits(EngineKind.PODMAN, user="0:0", cores=4)


def ids_of(engine: ContainerEngine, name: str) -> list[str]:
    """Of containers with this name, whatever their state."""
    words = [engine.program, "ps", "--all", "--quiet", "--filter", f"name={name}"]
    listed = subprocess.run(
        words, env=engine.environ, capture_output=True, text=True, check=True, timeout=60
    )
    return listed.stdout.split()


@dataclass(frozen=True)
class Ground:
    """Where containers are run, each with a folder of its own that is mounted."""

    engine: ContainerEngine
    image: str
    runner: TaskRunner
    host: PythonEnvironment
    root: Path
    is_podmans_service: bool

    def prepare(
        self, task_id: str, *command: str, timeout_s: float | None = None, **fields: Any
    ) -> tuple[ContainerRun, TaskSpec]:
        folder = self.root / task_id
        folder.mkdir()
        mounts = (Mount.same(folder), *fields.pop("mounts", ()))
        standard = {
            # Of this session: others may test on this machine at the same time.
            "name": container_name(f"{self.root}/{task_id}"),
            "image": self.image,
            "command": command,
            "mounts": mounts,
            "work_dir": folder,
        }
        run = ContainerRun(**{**standard, **fields})
        spec = self.engine.container_task(
            task_id,
            run,
            work_dir=folder,
            log_path=folder / "log.txt",
            host=self.host,
            timeout_s=timeout_s,
        )
        return run, spec

    def run(self, task_id: str, *command: str, **fields: Any) -> tuple[TaskOutcome, TaskSpec]:
        run, spec = self.prepare(task_id, *command, **fields)
        return self.engine.settle(run, self.runner.start(spec).result(), spec), spec


@pytest.fixture(scope="session")
def docker_engine(
    container_engine: ContainerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ContainerEngine]:
    """Docker's own client; without an engine of its own, in front of podman, which speaks its
    protocol."""
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("docker's client is not here")
    folder = tmp_path_factory.mktemp("docker")
    (folder / "docker").symlink_to(docker)
    environ = {**os.environ, "PATH": str(folder)}
    try:
        yield find_engine(environ)
        return
    except SeamlineError as error:
        if container_engine.kind is not EngineKind.PODMAN:
            pytest.skip(str(error))
    limits = ", ".join(f'"{limit}"' for limit in container_engine.traits.ulimits)
    (folder / "containers.conf").write_text(f"[containers]\ndefault_ulimits = [{limits}]\n")
    address = f"unix://{folder}/socket"
    words = [container_engine.program, "system", "service", "--time=0", address]
    config = {"CONTAINERS_CONF": str(folder / "containers.conf")}
    environment = {**os.environ, **config}
    # It leaves an empty file "oom" where it was started.
    with subprocess.Popen(words, cwd=folder, env=environment, stderr=subprocess.DEVNULL) as served:
        try:
            yield wait_for_engine({**environ, "DOCKER_HOST": address})
        finally:
            served.terminate()


@pytest.fixture(scope="session")
def docker_image(
    docker_engine: ContainerEngine, import_image: ImportImage, plain_tar: Path
) -> Iterator[str]:
    with import_image(docker_engine, plain_tar) as image:
        yield image


def wait_for_engine(environ: Mapping[str, str]) -> ContainerEngine:
    until = time.monotonic() + 120
    while True:
        try:
            return find_engine(environ)
        except SeamlineError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(params=["container_engine", "docker_engine"])
def ground(
    request: pytest.FixtureRequest,
    container_engine: ContainerEngine,
    tmp_path: Path,
    host: PythonEnvironment,
) -> Iterator[Ground]:
    """With the engine that would be found, and with docker's client."""
    engine = request.getfixturevalue(request.param)
    of_docker = request.param == "docker_engine"
    image = request.getfixturevalue("docker_image" if of_docker else "plain_image")
    with TaskRunner(SystemClock(), tmp_path / "run", environ=engine.environ) as runner:
        # With an engine of its own, docker is of another version than podman.
        podman = (EngineKind.PODMAN, engine.version)
        is_service = of_docker and (container_engine.kind, container_engine.version) == podman
        yield Ground(engine, image, runner, host, tmp_path, is_service)


def test_a_container_runs_its_command_in_its_image(ground: Ground) -> None:
    outcome, spec = ground.run(
        "t", "sh", "-c", 'echo $0 "$1" ${#2}; pwd; ls /; echo kept > kept; id',
        args=("a", "two  words", "--privileged"),
    )  # fmt: skip
    assert outcome.succeeded, spec.log_path.read_text()
    log = spec.log_path.read_text().splitlines()
    assert log[:2] == ["a two  words 12", str(spec.work_dir)]
    assert "home" not in log  # Of the image's folders, not of this machine's.
    assert "uid=0" in log[-1] or f"uid={os.getuid()}" in log[-1]
    kept = spec.work_dir / "kept"
    assert kept.read_text() == "kept\n"
    assert kept.stat().st_uid == os.getuid()
    kept.unlink()
    assert ids_of(ground.engine, container_name(f"{ground.root}/t")) == []


def test_variables_arrive_whatever_they_hold_and_no_argument_names_them(ground: Ground) -> None:
    values = {
        "PLAIN": "a b=c",
        "EMPTY": "",
        "QUOTED": "'q\"",
        "EDGES": " \t x ",
        "LINES": "-----BEGIN-----\nx\r\n-----END-----\n",
        "STAR": "*",
        "HASH": "#1",
        "DOLLAR": "$HOME ${HOME} `id` \\n",
        "LETTERS": "é☃\u00a0",
        "LONG": "y" * 100_000,
        "PATH": "/bin:/somewhere",
    }
    print_all = "\n".join(f'printf "%s" "${name}" > {name}.txt' for name in values)
    outcome, spec = ground.run("t", "/bin/sh", "-c", print_all, env=values)
    assert outcome.succeeded, spec.log_path.read_text()
    found = {name: (spec.work_dir / f"{name}.txt").read_bytes().decode() for name in values}
    assert found == values
    words = spec.input_path.read_text()
    assert "BEGIN" not in words
    assert "a b=c" not in words
    env_file = spec.work_dir / "tmp" / "container.env"
    assert "a b=c" in env_file.read_text()
    assert env_file.stat().st_mode & 0o777 == 0o600


def test_mounts(ground: Ground) -> None:
    folders = [ground.root / name for name in ("a,b", "c:d", "ro", "other")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text(f"in {folder.name}\n")
    comma, colon, read_only, other = folders
    outcome, spec = ground.run(
        "t", "sh", "-c",
        f"cat '{comma}/file' '{colon}/file' /elsewhere/file '{read_only}/file'; "
        f"touch '{comma}/new' /elsewhere/new && touch '{read_only}/new' || exit 9",
        mounts=(
            Mount.same(comma),
            Mount.same(colon, is_read_only=True),
            Mount(other, Path("/elsewhere")),
            Mount.same(read_only, is_read_only=True),
        ),
    )  # fmt: skip
    assert outcome.exit_code == 9
    assert spec.log_path.read_text().startswith("in a,b\nin c:d\nin other\nin ro\n")
    assert [(folder / "new").exists() for folder in folders] == [True, False, False, True]


def test_files_belong_to_us_when_the_engine_is_not(ground: Ground) -> None:
    """Docker's daemon is root whoever asks it: there the container gets our own number."""
    other = replace(ground.engine, traits=replace(ground.engine.traits, user="4321:4321"))
    ground.root.chmod(0o755)
    run, spec = replace(ground, engine=other).prepare(
        "t", "sh", "-c", 'id -u; echo $HOME; touch "$HOME/made"'
    )
    for folder in (spec.work_dir, spec.work_dir / "tmp"):
        os.chown(folder, 4321, 4321)
    outcome = other.settle(run, ground.runner.start(spec).result(), spec)
    assert outcome.succeeded, spec.log_path.read_text()
    assert spec.log_path.read_text() == f"4321\n{spec.work_dir}/tmp\n"
    assert (spec.work_dir / "tmp" / "made").stat().st_uid == 4321


def test_an_image_has_an_entry_point_and_a_folder_of_its_own(
    ground: Ground, plain_tar: Path, import_image: ImportImage
) -> None:
    changes = ('ENTRYPOINT ["echo", "from the entry point"]', 'CMD ["by default"]', "WORKDIR /bin")
    options = [word for change in changes for word in ("--change", change)]
    show = ("sh", "-c", "pwd")
    with import_image(ground.engine, plain_tar, *options) as image:
        _, given = ground.run("given", image=image, args=("given",))
        _, default = ground.run("default", image=image)
        _, command = ground.run("command", *show, image=image, work_dir=None)
        _, there = ground.run("there", *show, image=image, work_dir=Path("/etc"))
    assert given.log_path.read_text() == "from the entry point given\n"
    assert default.log_path.read_text() == "from the entry point by default\n"
    assert command.log_path.read_text() == "/bin\n"
    assert there.log_path.read_text() == "/etc\n"


def test_limits(ground: Ground) -> None:
    show = (
        "cd /sys/fs/cgroup; cat cpu.max 2>/dev/null || "
        "echo $(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us)"
    )
    outcome, spec = ground.run("cpu", "sh", "-c", show, cpus=0.5)
    assert outcome.succeeded, spec.log_path.read_text()
    quota, period = map(int, spec.log_path.read_text().split())
    assert quota * 2 == period
    grow = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done"
    outcome, spec = ground.run("memory", "sh", "-c", grow, memory_bytes=16 << 20)
    assert outcome.end is TaskEnd.FAILED
    assert outcome.error is not None
    assert outcome.error.type == "OutOfMemory"
    assert "it may use 16 MiB" in outcome.error.message


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("sh", "-c", "echo why >&2; exit 3"), 3, "exited with code 3."),
        (("nosuch",), 127, "a program was not found (127): "),
        (("/etc",), 126, "a program cannot be executed (126): "),
        (("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), 137, "was ended by SIGKILL"),
    ],
)
def test_exit_codes(ground: Ground, command: tuple[str, ...], code: int, said: str) -> None:
    if code in (126, 127) and ground.is_podmans_service:
        pytest.skip("podman's service does not tell these codes to docker's client")
    outcome, spec = ground.run("t", *command)
    assert (outcome.end, outcome.exit_code) == (TaskEnd.FAILED, code)
    assert outcome.error is not None
    assert said in outcome.error.message
    assert outcome.error.log_tail == spec.log_path.read_text().strip()


# -- the end -----------------------------------------------------------------------------------


def test_nothing_is_left_of_a_container_that_is_killed_or_late(
    ground: Ground, wait_until: WaitUntil, in_time: Callable[..., Any]
) -> None:
    wait_for_ever = ("sh", "-c", "touch started; sleep 600")
    killed, killed_spec = ground.prepare("killed", *wait_for_ever)
    killing = ground.runner.start(killed_spec)
    tried: list[tuple[ContainerRun, TaskSpec]] = []

    def begin(limit_s: float) -> tuple[Future[TaskOutcome], Path]:
        tried.append(ground.prepare(f"late-{limit_s}", *wait_for_ever, timeout_s=1.5 * limit_s))
        return ground.runner.start(tried[-1][1]), tried[-1][1].work_dir / "started"

    wait_until((killed_spec.work_dir / "started").exists)
    late, _ = in_time(begin)
    ground.runner.kill("killed")
    for future, run, spec, end in (
        (killing, killed, killed_spec, TaskEnd.CANCELED),
        (late, *tried[-1], TaskEnd.TIMED_OUT),
    ):
        outcome = ground.engine.settle(run, future.result(), spec)
        assert outcome.end is end
        assert ids_of(ground.engine, run.name) == []


def test_who_comes_after_ends_what_was_left(ground: Ground, wait_until: WaitUntil) -> None:
    run, spec = ground.prepare("left", "sh", "-c", "touch started; sleep 600")
    clients: list[ProcessIdentity] = []
    future = ground.runner.start(spec, clients.append)
    wait_until((spec.work_dir / "started").exists)
    wait_until(lambda: clients)  # its start is reported a little later than it happens
    (client,) = clients
    status = Path(f"/proc/{client.pid}/status").read_text()
    (zygote,) = (line.split()[1] for line in status.splitlines() if line.startswith("PPid:"))
    os.kill(int(zygote), signal.SIGKILL)
    assert future.result().end is TaskEnd.LOST
    wait_until(lambda: not is_alive(client))
    assert ids_of(ground.engine, run.name) != []
    ground.engine.end_container(run.name)
    assert ids_of(ground.engine, run.name) == []
    ground.engine.end_container(run.name)  # Nothing to do, and no error.


# -- images ------------------------------------------------------------------------------------


def test_an_image_has_a_digest_that_can_be_run(ground: Ground) -> None:
    digest = ground.engine.image_digest(ground.image)
    assert digest is not None
    assert parse_digest(digest) == digest
    assert ground.engine.ensure_image(ground.image) == digest
    outcome, spec = ground.run("t", "sh", "-c", "echo ran", image=digest)
    assert outcome.succeeded, spec.log_path.read_text()
    assert spec.log_path.read_text() == "ran\n"


def test_an_image_that_is_not_there(ground: Ground) -> None:
    image = "127.0.0.1:9/nobody/nothing:1"
    assert not ground.engine.has_image(image)
    lines: list[str] = []
    with pytest.raises(Unavailable) as caught:
        ground.engine.ensure_image(image, lines.append)
    assert image in caught.value.message
    assert "connection refused" in caught.value.message
    assert lines[-1] in caught.value.message


def test_a_run_pulls_by_itself_and_shows_why_it_could_not(ground: Ground) -> None:
    if ground.engine.kind is EngineKind.DOCKER:
        pytest.skip("one engine is enough for something that takes seconds")
    image = "127.0.0.1:9/nobody/nothing:1"
    outcome, spec = ground.run("t", "sh", "-c", "true", image=image)
    assert (outcome.end, outcome.exit_code) == (TaskEnd.FAILED, 125)
    assert outcome.error is not None
    assert outcome.error.type == "ContainerNotStarted"
    assert "connection refused" in outcome.error.log_tail
    assert spec.log_path.read_text().rstrip().endswith(outcome.error.log_tail.rstrip()[-40:])


# -- which engine ------------------------------------------------------------------------------


def test_without_an_engine_each_says_why(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        find_engine({"PATH": str(tmp_path)})
    assert "podman is not on PATH; docker is not on PATH" in caught.value.message
    client = tmp_path / "docker"
    client.write_text("#!/bin/sh\necho first >&2; echo 'Cannot connect to the daemon' >&2; exit 1")
    client.chmod(0o755)
    with pytest.raises(Unavailable) as caught:
        find_engine({"PATH": str(tmp_path)})
    assert f"{client} has no working engine (Cannot connect to the daemon)" in caught.value.message
    assert "Install podman" in caught.value.next_step


def test_a_client_that_cannot_start_is_no_engine(tmp_path: Path) -> None:
    (tmp_path / "podman").write_bytes(b"\0 no program")
    (tmp_path / "podman").chmod(0o755)
    with pytest.raises(Unavailable, match="does not answer"):
        find_engine({"PATH": str(tmp_path)})


# -- the command line --------------------------------------------------------------------------


def words_of(**fields: Any) -> list[str]:
    standard = {"name": "c", "image": "image:1", "command": ("run",)}
    return list(run_words(ContainerRun(**{**standard, **fields}), TRAITS, Path("/env")))


def test_nothing_of_a_component_becomes_an_option() -> None:
    hostile = ("--privileged", "-v=/:/host", "")
    words = words_of(command=hostile, args=("--pid=host",))
    at = words.index("image:1")
    assert words[at + 1 :] == ["-v=/:/host", "", "--pid=host"]
    assert "--entrypoint=--privileged" in words[:at]
    assert [word for word in words[:at] if "pid" in word or "/host" in word] == []
    for image in ("--privileged", "-v/:/host", "", " ", "image\n--privileged", "a b"):
        with pytest.raises(InvalidInput, match="is not the name of an image"):
            words_of(image=image)


def test_only_asked_limits_are_set() -> None:
    assert not [word for word in words_of() if word.startswith(("--cpus", "--mem", "--workdir"))]
    words = words_of(cpus=0.25, memory_bytes=5, work_dir=Path("/w"))
    assert {"--cpus=0.25", "--memory=5b", "--memory-swap=5b", "--workdir=/w"} <= set(words)
    # An engine refuses more processors than there are.
    assert not [word for word in words_of(cpus=8.0) if word.startswith("--cpus")]
    with_limits = replace(TRAITS, ulimits=("nofile=9:9",), has_selinux=True)
    words = list(run_words(ContainerRun("c", "image", user="7:8"), with_limits, Path("/env")))
    assert {"--ulimit=nofile=9:9", "--security-opt=label=disable", "--user=7:8"} <= set(words)


def test_variables_that_would_change_the_client() -> None:
    split = split_environment({"HOME": "/here", "KEY": "a\nb"})
    assert split.lines == ("HOME=/here",)
    assert split.through_client == {"KEY": "a\nb"}
    for name in ("PATH", "HOME", "DOCKER_HOST", "CONTAINERS_CONF", "LD_PRELOAD", "https_proxy"):
        with pytest.raises(InvalidInput, match=name):
            split_environment({name: "a\nb"})
    for name in ("", "A B", "A=B", "#A", "A*"):
        with pytest.raises(InvalidInput, match="cannot be an environment variable"):
            split_environment({name: "1"})


def test_a_path_that_no_option_can_hold() -> None:
    with pytest.raises(InvalidInput, match="both a colon"):
        write_mount(Mount.same(Path("/a,b:c")))


def test_names_are_those_of_their_tasks() -> None:
    assert container_name("run/task#1") == container_name("run/task#1")
    assert container_name("run/task#1") != container_name("run/task#2")
    assert container_name("ruN/task#1") != container_name("run/task#1")
    for task_id in ("x" * 500, "../a b", "é", ""):
        assert re.fullmatch("[a-z0-9][a-z0-9-]{5,80}", container_name(task_id))
