"""Volumes at their paths: the rule by itself, and real mounts in real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.runtime import mounts
from seamline.runtime.mounts import (
    BIND,
    BROKEN,
    FOLDER,
    GRAFT,
    INSIDE,
    LINK,
    MISSING,
    NAMESPACE,
    OTHER,
    USER_NAMESPACE,
    Bind,
    MountRefused,
    decide_mounts,
    enter_mounts,
    probe_ability,
)

# -- the rule ------------------------------------------------------------------------------------
PLACES = {
    **dict.fromkeys(["/", "/mnt", "/mnt/old", "/srv", "/dev", "/dev/shm", "/usr", "/etc"], FOLDER),
    "/srv/file": OTHER,
    "/srv/lost": BROKEN,
    "/opt": OTHER,
}
LINKS = {"/short": "/usr", "/var/run": "/run"}


def look(path: str) -> str:
    return PLACES.get(path, MISSING)


def resolve(path: str) -> str:
    for link, to in LINKS.items():
        if path == link or path.startswith(f"{link}/"):
            return to + path.removeprefix(link)
    return path


decide = partial(decide_mounts, needed=["/home/ada/.seamline"], look=look, resolve=resolve)


def steps(*targets: str, ability: str = NAMESPACE) -> list[tuple[str, str]]:
    found = decide([Bind("", target) for target in targets], ability)
    return [(step.how, step.bind.target) for step in found]


@pytest.mark.parametrize("ability", [NAMESPACE, USER_NAMESPACE])
def test_what_is_there_is_covered_and_what_is_not_is_made(ability: str) -> None:
    assert steps("/mnt/old", "/data", "/mnt/new/deep", "/dev/shm", ability=ability) == [
        (GRAFT, "/data"),
        (BIND, "/dev/shm"),
        (GRAFT, "/mnt/new/deep"),
        (BIND, "/mnt/old"),
    ]


def test_a_volume_in_a_volume_comes_after_it() -> None:
    assert steps("/data/a/b", "/data-2", "/data", "/data/a") == [
        (GRAFT, "/data"),
        (INSIDE, "/data/a"),
        (INSIDE, "/data/a/b"),
        (GRAFT, "/data-2"),
    ]


def test_links_are_followed() -> None:
    assert steps("/var/run/mine") == [(GRAFT, "/run/mine")]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("data", "no path to mount"),
        ("", "no path to mount"),
        ("/data/../etc", "no path to mount"),
        ("/data/", "no path to mount"),
        ("//data", "no path to mount"),
        ("/a\0b", "no path to mount"),
        ("/", "No volume can be mounted at /"),
        ("/proc/1", "Choose a folder of your own"),
        ("/sys", "Choose a folder of your own"),
        ("/dev", "Choose a folder of your own"),
        ("/dev/new", "no folder is made in /dev"),
        ("/usr", "would hide /usr/bin"),
        ("/short", "would hide /usr/bin"),
        ("/etc", "would hide /etc"),
        ("/home", "would hide /home/ada/.seamline"),
        ("/home/ada/.seamline", "would hide /home/ada/.seamline"),
        ("/srv/file", "there is something that is no folder"),
        ("/srv/file/below", "no folder is made in /srv/file"),
        ("/srv/lost", "there is a symbolic link to nothing"),
        ("/opt/app", "no folder is made in /opt"),
    ],
)
@pytest.mark.parametrize("ability", [NAMESPACE, USER_NAMESPACE])
def test_refusals_name_the_path(ability: str, target: str, words: str) -> None:
    with pytest.raises(MountRefused, match=words):
        steps(target, ability=ability)


def test_two_at_one_path_are_refused() -> None:
    with pytest.raises(MountRefused, match="Two volumes are to be mounted at /data"):
        steps("/data", "/mnt/old", "/data")


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (["/data", "/data/a"], "would lie in another one: this machine lets tasks have no mounts"),
        (["/none/data"], "needs the folder /none"),
        (["/home"], "would hide"),
        (["/proc/a"], "Choose a folder of your own"),
    ],
)
def test_without_namespaces_a_link_is_all_there_is(targets: list[str], words: str) -> None:
    assert steps("/data", "/srv/new", ability=LINK) == [(LINK, "/data"), (LINK, "/srv/new")]
    with pytest.raises(MountRefused, match=words):
        steps(*targets, ability=LINK)


def test_without_namespaces_nothing_that_is_there_is_covered() -> None:
    assert steps("/mnt/old", ability=LINK)  # It could be a link of ours: known at the run only.
    with pytest.raises(MountRefused, match="/mnt/old: there is something else"):
        decide([Bind("/home/ada/.seamline/volumes/a", "/mnt/old")], LINK)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c-d", "e"]), min_size=1, max_size=4)))
def test_outer_paths_come_first_and_none_is_lost(paths: list[list[str]]) -> None:
    targets = ["/" + "/".join(path) for path in paths]
    if len(set(targets)) < len(targets):
        with pytest.raises(MountRefused, match="Two volumes"):
            steps(*targets)
        return
    found = steps(*targets)
    assert sorted(target for _, target in found) == sorted(targets)
    for index, (how, target) in enumerate(found):
        before = [other for _, other in found[:index]]
        assert not any(other.startswith(f"{target}/") for other in before)
        assert (how == INSIDE) == any(target.startswith(f"{other}/") for other in before)


# -- real mounts ---------------------------------------------------------------------------------
NOBODY = 65534
#: Imports first: another user may not be allowed to read the tests' own Python.
DRIVER = """
import ctypes, errno, importlib.util, json, os, stat, subprocess, sys
from pathlib import Path
given = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("mounts", given["mounts"])
mounts = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mounts)
if given["user"]:
    os.setgroups([])
    os.setgid(given["user"])
    os.setuid(given["user"])
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # Else /proc/self would stay root's.
said = {}
try:
    binds = [mounts.Bind(*bind) for bind in given["binds"]]
    mounts.enter_mounts(binds, given["ability"], given["work_dir"], given["workspace"])
    exec(given["code"])
except mounts.MountRefused as error:
    said["refused"] = str(error)
print(json.dumps(said))
"""
#: Says that it is in, and waits to be told to go on.
MEET = "open('ready', 'w').close(); open('go').read()"


class Machine:
    """A workspace, and processes that see it as tasks do."""

    def __init__(self, root: Path, ability: str, user: int) -> None:
        self.root = root
        self.ability = ability
        self.user = user
        self.work_dir = self.folder("runs/1/work")

    def folder(self, name: str) -> Path:
        path = self.root / "workspace" / name
        path.mkdir(parents=True)
        if self.user:
            for each in (path, *path.parents):
                if each.is_relative_to(self.root):
                    os.chown(each, self.user, self.user)
        return path

    def start(self, code: str, *binds: Bind) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", DRIVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        given = {
            "mounts": mounts.__file__,
            "user": self.user,
            "binds": [[str(bind.source), bind.target, bind.is_read_only] for bind in binds],
            "ability": self.ability,
            "work_dir": str(self.work_dir),
            "workspace": str(self.root / "workspace"),
            "code": code,
        }
        json.dump(given, process.stdin)
        process.stdin.close()
        return process

    def run(self, code: str, *binds: Bind) -> dict[str, Any]:
        return self.end(self.start(code, *binds))

    def end(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        with process.stdout as out:
            said: dict[str, Any] = json.loads(out.read())
        assert process.wait(120) == 0
        return said


def _user_of(ability: str) -> int:
    """0: as whom the tests run."""
    return NOBODY if ability == USER_NAMESPACE and os.geteuid() == 0 else 0


@pytest.fixture
def root() -> Iterator[Path]:
    """Where anybody may go, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="seamline-mounts-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def able() -> dict[str, bool]:
    """What is allowed here, by another program's word."""
    other = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return {
        NAMESPACE: _succeeds("unshare", "--mount", "true"),
        USER_NAMESPACE: _succeeds(
            *(other if os.geteuid() == 0 else []), "unshare", "--user", "--mount", "true"
        ),
    }


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True).returncode == 0


@pytest.fixture(params=[NAMESPACE, USER_NAMESPACE])
def machine(request: pytest.FixtureRequest, root: Path, able: dict[str, bool]) -> Machine:
    if not able[request.param]:
        pytest.skip(f"this machine does not allow mounts by {request.param}")
    return Machine(root, request.param, _user_of(request.param))


@pytest.fixture
def fresh(root: Path) -> Callable[[str], str]:
    """A path with that beginning that does not exist."""
    return lambda folder: f"{folder.rstrip('/')}/{root.name}"


def test_what_this_machine_can_do(able: dict[str, bool]) -> None:
    allowed = [one for one in (NAMESPACE, USER_NAMESPACE) if able[one]]
    assert probe_ability() == next(iter(allowed), LINK)
    assert probe_ability("/no/such/python") == LINK


def test_a_path_that_did_not_exist(machine: Machine, fresh: Callable[[str], str]) -> None:
    """At the top and deep below: it is seen, written to, and leaves nothing behind."""
    one, two, three = (machine.folder(f"volumes/{name}") for name in ("one", "two", "three"))
    (one / "in").write_text("was there")
    top, deep = fresh("/"), f"{fresh('/srv')}/deep/data"
    beside = f"{fresh('/srv')}/beside"
    said = machine.run(
        f"""
said["in"] = Path("{top}/in").read_text()
for index, path in enumerate(["{top}", "{deep}", "{beside}"]):
    Path(path, "out").write_text(str(index))
said["root"] = sorted(path.name for path in Path("/").iterdir())
said["proc"] = Path("/proc/self/comm").read_text().strip()
said["cwd"] = str(Path.cwd())
""",
        Bind(str(one), top),
        Bind(str(two), deep),
        Bind(str(three), beside),
    )
    assert said["in"] == "was there"
    assert [(folder / "out").read_text() for folder in (one, two, three)] == ["0", "1", "2"]
    assert set(said["root"]) >= {path.name for path in Path("/").iterdir()} | {Path(top).name}
    assert said["proc"].startswith("python")
    assert said["cwd"] == "/"
    assert not Path(top).exists()
    assert not Path(fresh("/srv")).exists()
    assert list(machine.work_dir.iterdir()) == []


def test_nobody_else_sees_it(
    machine: Machine,
    fresh: Callable[[str], str],
    wait_until: Callable[[Callable[[], object]], None],
) -> None:
    """Not even another task that has another folder at the same path at the same time."""
    path = fresh("/")
    tasks = []
    for name in ("one", "two"):
        folder = machine.folder(f"volumes/{name}")
        os.mkfifo(folder / "go")
        code = f"os.chdir('{path}'); {MEET}; said['name'] = Path('name').read_text()"
        (folder / "name").write_text(name)
        if machine.user:
            os.chown(folder / "go", machine.user, machine.user)
        tasks.append((folder, machine.start(code, Bind(str(folder), path))))
    for folder, _ in tasks:
        wait_until((folder / "ready").exists)
        assert not Path(path).exists()
    for folder, _ in tasks:
        (folder / "go").open("w").close()
    assert [machine.end(process)["name"] for _, process in tasks] == ["one", "two"]


def test_a_folder_that_exists_is_covered_and_comes_to_no_harm(machine: Machine) -> None:
    volume, there = machine.folder("volumes/v"), machine.root / "there"
    there.mkdir()
    (there / "kept").write_text("kept")
    said = machine.run(
        f"said['in'] = [p.name for p in Path('{there}').iterdir()]\n"
        f"Path('{there}', 'out').write_text('x')",
        Bind(str(volume), str(there)),
    )
    assert said == {"in": []}
    assert [path.name for path in there.iterdir()] == ["kept"]
    assert (volume / "out").read_text() == "x"


def test_the_rest_of_a_folder_is_as_it_was(machine: Machine) -> None:
    """What is beside a path that is made: files, folders, links; and folders in it, to write to."""
    around = machine.root / "around"
    (around / "folder").mkdir(parents=True)
    (around / "file").write_text("f")
    (around / "link").symlink_to("file")
    (around / "lost").symlink_to("nowhere")
    (around / "folder").chmod(0o777)
    around.chmod(0o775)
    volume = machine.folder("volumes/v")
    said = machine.run(
        f"""
around = Path("{around}")
said["names"] = sorted(path.name for path in around.iterdir())
said["link"] = [(around / "link").read_text(), str((around / "lost").readlink())]
said["mode"] = oct(stat.S_IMODE(around.stat().st_mode))
(around / "folder" / "out").write_text("written through")
(around / "gone").write_text("in memory")
""",
        Bind(str(volume), f"{around}/data"),
    )
    assert said["names"] == ["data", "file", "folder", "link", "lost"]
    assert said["link"] == ["f", "nowhere"]
    assert said["mode"] == "0o775"
    assert (around / "folder" / "out").read_text() == "written through"
    assert sorted(path.name for path in around.iterdir()) == ["file", "folder", "link", "lost"]


def test_a_volume_in_a_volume(machine: Machine, fresh: Callable[[str], str]) -> None:
    outer, inner = machine.folder("volumes/outer"), machine.folder("volumes/inner")
    path = fresh("/")
    machine.run(
        f"Path('{path}/out').write_text('o'); Path('{path}/sub/deep/out').write_text('i')",
        Bind(str(inner), f"{path}/sub/deep"),
        Bind(str(outer), path),
    )
    assert (outer / "out").read_text() == "o"
    assert (inner / "out").read_text() == "i"
    assert list((outer / "sub" / "deep").iterdir()) == []


def test_read_only(machine: Machine, fresh: Callable[[str], str]) -> None:
    volume, path = machine.folder("volumes/v"), fresh("/")
    (volume / "in").write_text("x")
    said = machine.run(
        f"""
said["in"] = Path("{path}/in").read_text()
for action in (Path("{path}/out").touch, Path("{path}/in").unlink):
    try:
        action()
    except OSError as error:
        said.setdefault("errors", []).append(errno.errorcode[error.errno])
""",
        Bind(str(volume), path, is_read_only=True),
    )
    assert said == {"in": "x", "errors": ["EROFS", "EROFS"]}
    assert [path.name for path in volume.iterdir()] == ["in"]


def test_the_task_is_who_it_was_and_its_children_see_the_same(
    machine: Machine, fresh: Callable[[str], str]
) -> None:
    volume, path = machine.folder("volumes/v"), fresh("/")
    guarded = machine.work_dir / "guarded"
    guarded.write_text("x")
    guarded.chmod(0o400)
    if machine.user:
        os.chown(guarded, machine.user, machine.user)
    said = machine.run(
        f"""
said["who"] = [os.getuid(), os.getgid(), os.geteuid()]
said["writable"] = os.access("{guarded}", os.W_OK)
subprocess.run(["/bin/sh", "-c", "id -u > {path}/id"], check=True)
Path("{machine.work_dir}/out").write_text("x")
""",
        Bind(str(volume), path),
    )
    user = machine.user or os.getuid()
    group = machine.user or os.getgid()
    assert said == {"who": [user, group, user], "writable": os.getuid() == 0 and not machine.user}
    assert (volume / "id").read_text() == f"{user}\n"
    assert (machine.work_dir / "out").stat().st_uid == user


def test_it_still_goes_with_its_parent(machine: Machine, fresh: Callable[[str], str]) -> None:
    """PR_SET_PDEATHSIG, which a change of rights can take away."""
    volume, path = machine.folder("volumes/v"), fresh("/")
    said = machine.run(
        f"""
libc = ctypes.CDLL(None)
child = os.fork()
if child == 0:
    libc.prctl(1, 9, 0, 0, 0)
    mounts.enter_mounts([mounts.Bind("{volume}", "{path}")], given["ability"],
                        given["work_dir"], given["workspace"])
    found = ctypes.c_int()
    libc.prctl(2, ctypes.byref(found), 0, 0, 0)
    os._exit(found.value)
said["signal"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    )
    assert said == {"signal": 9}


def test_a_refusal_names_the_path_and_changes_nothing(machine: Machine) -> None:
    volume = machine.folder("volumes/v")
    said = machine.run("", Bind(str(volume), str(machine.root)))
    assert f"would hide {machine.root}/workspace" in said["refused"]
    said = machine.run("", Bind(str(volume / "none"), f"{machine.root}/new"))
    assert f"No volume could be mounted at {machine.root}/new" in said["refused"]
    assert not (machine.root / "new").exists()


def test_too_many_entries_to_copy(machine: Machine) -> None:
    crowd = machine.root / "crowd"
    crowd.mkdir()
    for number in range(4097):
        (crowd / str(number)).touch()
    said = machine.run("", Bind(str(machine.folder("volumes/v")), f"{crowd}/data"))
    assert "4,097 entries: make the folder there yourself" in said["refused"]


# -- links ---------------------------------------------------------------------------------------
@pytest.fixture
def link(tmp_path: Path) -> Callable[[Path, Path], None]:
    workspace = tmp_path / "workspace"
    (workspace / "work").mkdir(parents=True)

    def make(source: Path, target: Path) -> None:
        binds = [Bind(str(source), str(target))]
        enter_mounts(binds, LINK, str(workspace / "work"), str(workspace))

    return make


def test_a_link_stands_in(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    volume, target = tmp_path / "workspace" / "v", tmp_path / "data"
    volume.mkdir()
    for _ in range(2):  # The second task finds it there.
        link(volume, target)
        assert target.readlink() == volume
    other = tmp_path / "workspace" / "other"
    other.mkdir()
    with pytest.raises(MountRefused, match=r"data: there is something else"):
        link(other, target)
    assert target.readlink() == volume


def test_a_link_to_what_is_gone_is_replaced_if_it_was_ours(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    volume, target = tmp_path / "workspace" / "v", tmp_path / "data"
    volume.mkdir()
    target.symlink_to(tmp_path / "workspace" / "run-that-is-over")
    link(volume, target)
    assert target.readlink() == volume
    foreign = tmp_path / "foreign"
    foreign.symlink_to("/media/unplugged")
    with pytest.raises(MountRefused, match="a symbolic link to /media/unplugged"):
        link(volume, foreign)
    assert str(foreign.readlink()) == "/media/unplugged"


def test_what_is_there_is_not_replaced_by_a_link(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    volume, there = tmp_path / "workspace" / "v", tmp_path / "there"
    volume.mkdir()
    there.mkdir()
    with pytest.raises(MountRefused, match="there is something else"):
        link(volume, there)
    assert there.is_dir()
    assert not there.is_symlink()


def test_nothing_to_mount_changes_nothing(tmp_path: Path) -> None:
    before = Path.cwd()
    enter_mounts([], NAMESPACE, str(tmp_path), str(tmp_path))
    assert Path.cwd() == before
