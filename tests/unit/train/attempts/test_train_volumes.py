"""Folders behind volumes: where they lie, what cannot be named, when they go."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import insert

from seamline.domain.clock import ManualClock, iso
from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.domain.states import RunState, is_terminal
from seamline.runtime.mounts import LINK, NAMESPACE, Bind
from seamline.store.stores import Stores, open_stores
from seamline.train.attempts.volumes import (
    check_mounts,
    check_workspace,
    claim_folder,
    empty_folder,
    end_workspace,
    remove_attempt_volumes,
    run_workspace,
    sweep_workspaces,
    task_binds,
    write_secret_files,
)
from seamline.train.ir.types import Constant, Mount, VolumeKind
from seamline.train.rows import RUNS
from seamline.trust.secrets import SecretKind, set_values


@pytest.fixture
def stores(tmp_path: Path, clock: ManualClock):
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()


def add_run(stores: Stores, run_id: str, state: RunState) -> None:
    now = iso(stores.clock.now())
    texts = {
        column.name: "" for column in RUNS.c if not column.nullable and column.name not in ("id",)
    }
    ended = {"ended_at": now} if is_terminal(state) else {}
    row = {**texts, "id": run_id, "state": state, "created_at": now, **ended}
    with stores.db.transaction() as tx:
        tx.execute(insert(RUNS).values(**row))


def test_a_claim_is_kept_and_environments_are_apart(stores: Stores) -> None:
    folder = claim_folder(stores, "dataops", "training-data")
    assert folder == stores.root.absolute() / "volumes" / "dataops" / "training-data"
    (folder / "kept").touch()
    assert (claim_folder(stores, "dataops", "training-data") / "kept").exists()
    assert list(claim_folder(stores, "production", "training-data").iterdir()) == []


@pytest.mark.parametrize(
    "claim", ["", ".", "..", "a/b", "../x", "/tmp", "A", "a_b", "-a", "a-", "a\0", "a" * 254, "a\n"]
)
def test_a_claim_cannot_name_its_way_out(stores: Stores, claim: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of a volume"):
        claim_folder(stores, "dataops", claim)
    with pytest.raises(InvalidInput, match="cannot be the name of a volume"):
        empty_folder(stores.root, claim)
    assert not (stores.root / "volumes").exists()


def test_an_environment_cannot_either(stores: Stores) -> None:
    with pytest.raises(InvalidInput, match="cannot be the name of an environment"):
        claim_folder(stores, "..", "a")


@pytest.mark.parametrize("sub_path", ["a", "a/b", "a//b/", "a.b/ c", "..."])
def test_sub_paths_are_made(stores: Stores, sub_path: str) -> None:
    folder = claim_folder(stores, "dataops", "v", sub_path)
    assert folder.is_dir()
    assert folder.is_relative_to(stores.root.absolute() / "volumes" / "dataops" / "v")


@pytest.mark.parametrize("sub_path", ["/a", "..", "a/../../b", "a/..", "a\0b"])
def test_a_sub_path_stays_inside(stores: Stores, sub_path: str) -> None:
    with pytest.raises(InvalidInput, match="is no path in the volume 'v'"):
        claim_folder(stores, "dataops", "v", sub_path)


def test_a_link_that_a_task_has_left_is_not_followed(stores: Stores, tmp_path: Path) -> None:
    volume = claim_folder(stores, "dataops", "v")
    (volume / "out").symlink_to(tmp_path)
    (volume / "file").touch()
    with pytest.raises(Refused, match="'out' in the volume 'v' is a symbolic link"):
        claim_folder(stores, "dataops", "v", "out/in")
    with pytest.raises(InvalidInput, match="cannot be a folder"):
        claim_folder(stores, "dataops", "v", "file")


def test_folders_of_an_attempt(tmp_path: Path) -> None:
    empty = empty_folder(tmp_path, "scratch")
    (empty / "x").touch()
    secret = write_secret_files(
        tmp_path, SecretKind.SECRET, "tls", {"cert.der": b"\xff", "key": b"hush"}
    )
    again = write_secret_files(tmp_path, SecretKind.CONFIG_MAP, "tls", {"key": b"2"})
    assert write_secret_files(tmp_path, SecretKind.SECRET, "tls", {}) == secret
    assert (secret / "cert.der").read_bytes() == b"\xff"
    assert stat.S_IMODE((secret / "key").stat().st_mode) == 0o400
    assert stat.S_IMODE(secret.stat().st_mode) == 0o700
    remove_attempt_volumes(tmp_path)
    assert not any(path.exists() for path in (empty, secret, again))
    remove_attempt_volumes(tmp_path)


def test_what_a_task_finds_where(stores: Stores, tmp_path: Path) -> None:
    set_values(stores, "dataops", SecretKind.SECRET, "tls", {"key": b"hush"}, by="ada")
    data, name = Constant("data"), Constant("")
    binds = task_binds(
        stores,
        "dataops",
        [
            (Mount(VolumeKind.CLAIM, data, "/data", "year/2026"), "data"),
            (Mount(VolumeKind.EMPTY, data, "/dev/shm"), "shm"),
            (Mount(VolumeKind.SECRET, name, "/etc/tls"), "tls"),
            (Mount(VolumeKind.CONFIG_MAP, name, "/etc/app", is_optional=True), "app"),
        ],
        tmp_path,
    )
    assert binds == (
        Bind(str(claim_folder(stores, "dataops", "data") / "year" / "2026"), "/data"),
        Bind(str(tmp_path / "volumes" / "shm"), "/dev/shm"),
        Bind(str(tmp_path / "secrets" / "secret" / "tls"), "/etc/tls", is_read_only=True),
        Bind(str(tmp_path / "secrets" / "config_map" / "app"), "/etc/app", is_read_only=True),
    )
    assert all(Path(bind.source).is_dir() for bind in binds)
    assert Path(binds[2].source, "key").read_bytes() == b"hush"
    with pytest.raises(NotFound, match="no config map 'app' in dataops"):
        mount = Mount(VolumeKind.CONFIG_MAP, name, "/etc/app")
        task_binds(stores, "dataops", [(mount, "app")], tmp_path / "other")


def test_a_workspace_lives_as_long_as_its_run_can_be_retried(
    stores: Stores, clock: ManualClock
) -> None:
    for state in RunState:
        (run_workspace(stores, state) / "data").touch()
        end_workspace(stores, state, state)
    kept = {state for state in RunState if (stores.root / "runs" / state / ".workspace").exists()}
    assert kept == set(RunState) - {RunState.SUCCEEDED}
    check_workspace(stores, RunState.FAILED)
    with pytest.raises(Refused, match="kept for 7 days"):
        check_workspace(stores, RunState.SUCCEEDED)


def test_sweeping(stores: Stores, clock: ManualClock) -> None:
    for state in RunState:
        add_run(stores, state, state)
        run_workspace(stores, state)
    run_workspace(stores, "unknown")
    assert sweep_workspaces(stores) == [RunState.SUCCEEDED]
    clock.advance(7 * 86_400)
    assert sweep_workspaces(stores) == []
    clock.advance(1)
    assert sweep_workspaces(stores) == sorted(
        state for state in RunState if is_terminal(state) and state is not RunState.SUCCEEDED
    )
    left = {path.parent.name for path in stores.root.glob("runs/*/.workspace")}
    assert left == {RunState.PENDING, RunState.RUNNING, "unknown"}


def test_whether_a_path_can_be_mounted_is_known_before_the_run(stores: Stores) -> None:
    check_mounts("train", ["/data", "/data/in"], NAMESPACE)
    with pytest.raises(Refused, match="Task 'train': A volume at /etc would hide /etc"):
        check_mounts("train", ["/data", "/etc"], NAMESPACE)
    with pytest.raises(Refused, match="would hide"):
        check_mounts("train", [str(stores.root.parent)], NAMESPACE, stores.root)
    with pytest.raises(Refused, match="Run the server as root"):
        check_mounts("train", ["/data", "/data/in"], LINK)
