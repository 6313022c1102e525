"""Where volumes lie: folders of the workspace that tasks find at paths of their own.

    volumes/<environment>/<claim>/    a claim (pvcMount): kept until somebody removes it
    runs/<run>/.workspace/            what the tasks of one run share
    <attempt>/volumes/<name>/         a directory of one attempt (emptyDir), gone with it
    <attempt>/secrets/<kind>/<name>/  a secret or config map as files, gone with the attempt

No task is called ".workspace": a name begins with a letter, a digit or an underscore. The
workspace of a run that succeeded is removed; that of any other is kept for a week, since a retry
goes on from what finished tasks have left in it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select

from seamline.domain.clock import from_iso
from seamline.domain.errors import InvalidInput, NotFound, Refused
from seamline.domain.states import RunState, is_terminal
from seamline.runtime.mounts import Bind, MountRefused, decide_mounts, needed_paths
from seamline.store.stores import Stores
from seamline.train.attempts.folders import remove_folder
from seamline.train.attempts.order import WORKSPACE
from seamline.train.ir.types import Mount, VolumeKind
from seamline.train.rows import RUNS
from seamline.trust.secret_rules import SecretKind, check_environment, check_key, check_name
from seamline.trust.secrets import read_values

KEPT_FOR = timedelta(days=7)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_CLAIM = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_MAX_NAME = 253
_READ_ONLY = (VolumeKind.SECRET, VolumeKind.CONFIG_MAP)


# -- claims ----------------------------------------------------------------------------------
def claim_folder(stores: Stores, environment: str, claim: str, sub_path: str = "") -> Path:
    """The folder, made at its first use. Raises InvalidInput for a name or path that is none."""
    check_environment(environment)
    check_claim(claim)
    folder = stores.root.absolute() / "volumes" / environment / claim
    folder.mkdir(parents=True, exist_ok=True)
    return _folder_below(folder, sub_path, f"the volume {claim!r}")


def check_claim(name: str) -> None:
    """As Kubernetes names one: a DNS subdomain.

    >>> check_claim("training-data.v2")
    """
    if len(name) > _MAX_NAME or not _CLAIM.fullmatch(name):
        raise InvalidInput(
            f"{name[:80]!r} cannot be the name of a volume.",
            next_step="Use lower-case letters, digits, - and . (at most 253), with a letter or "
            "digit at both ends.",
        )


def _folder_below(folder: Path, sub_path: str, what: str) -> Path:
    """Step by step: a task could have left a link there that leads out of the volume."""
    parts = [part for part in sub_path.split("/") if part]
    if sub_path.startswith("/") or ".." in parts or "\0" in sub_path:
        raise InvalidInput(
            f"{sub_path[:80]!r} is no path in {what}.",
            next_step="A sub-path is relative, without ..",
        )
    for part in parts:
        folder = folder / part
        if folder.is_symlink():
            raise Refused(f"{folder.name!r} in {what} is a symbolic link: it is not followed.")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"{sub_path[:80]!r} in {what} cannot be a folder: {error.strerror}."
            ) from error
    return folder


# -- of one attempt --------------------------------------------------------------------------
def task_binds(
    stores: Stores, environment: str, mounts: Iterable[tuple[Mount, str]], attempt_dir: Path
) -> tuple[Bind, ...]:
    """What a task is to find where; `mounts` come with their names, filled in.

    The folders are made, and those of the attempt have to be removed when it has ended.
    """
    binds = []
    for mount, name in mounts:
        match mount.kind:
            case VolumeKind.CLAIM:
                folder = claim_folder(stores, environment, name, mount.sub_path)
            case VolumeKind.EMPTY:
                folder = empty_folder(attempt_dir, name)
            case VolumeKind.SECRET | VolumeKind.CONFIG_MAP:
                folder = _secret_folder(stores, environment, mount, name, attempt_dir)
        binds.append(Bind(str(folder), mount.path, mount.kind in _READ_ONLY))
    return tuple(binds)


def _secret_folder(
    stores: Stores, environment: str, mount: Mount, name: str, attempt_dir: Path
) -> Path:
    kind = SecretKind(mount.kind.value)
    try:
        values = read_values(stores, environment, kind, name)
    except NotFound:
        if not mount.is_optional:
            raise
        values = {}
    return write_secret_files(attempt_dir, kind, name, values)


def empty_folder(attempt_dir: Path, name: str) -> Path:
    check_claim(name)
    folder = attempt_dir / "volumes" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_secret_files(
    attempt_dir: Path, kind: SecretKind, name: str, values: Mapping[str, bytes]
) -> Path:
    """One file per key, for the task's user only."""
    check_name(name, kind)
    folder = attempt_dir / "secrets" / kind / name
    if folder.exists():  # Mounted at another path, too.
        return folder
    for each in (folder.parent.parent, folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
    for key, value in values.items():
        check_key(key)
        path = folder / key
        path.touch(mode=0o600)
        path.write_bytes(value)
        path.chmod(0o400)
    return folder


def remove_attempt_volumes(attempt_dir: Path) -> None:
    """Once the attempt has ended, however it did."""
    for name in ("volumes", "secrets"):
        remove_folder(f"{attempt_dir}/{name}")


# -- of one run ------------------------------------------------------------------------------
def run_workspace(stores: Stores, run_id: str) -> Path:
    """The folder, made at its first use."""
    folder = _workspace_of(stores, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def keeps_workspace(state: RunState) -> bool:
    """Whether what the tasks shared may still be needed.

    >>> keeps_workspace(RunState.PARTIALLY_FAILED), keeps_workspace(RunState.SUCCEEDED)
    (True, False)
    """
    return state is not RunState.SUCCEEDED


def end_workspace(stores: Stores, run_id: str, state: RunState) -> None:
    """When the run has ended and that is recorded. Does it again without harm."""
    if not keeps_workspace(state):
        shutil.rmtree(_workspace_of(stores, run_id), ignore_errors=True)


def check_workspace(stores: Stores, run_id: str) -> None:
    """Before a run whose tasks share a workspace is retried; raises Refused when it is gone."""
    if not _workspace_of(stores, run_id).is_dir():
        raise Refused(
            f"The workspace of run {run_id} is gone: one is kept for {KEPT_FOR.days} days after a "
            "run has ended.",
            next_step="Request a new run.",
        )


def sweep_workspaces(stores: Stores) -> list[str]:
    """Removes those of runs that succeeded, or ended long ago; returns the runs' ids.

    At the start and from time to time: whoever ended a run may have been killed right after.
    """
    found = ended_workspaces(stores)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path.parent.name for path in found]


def ended_workspaces(stores: Stores) -> list[Path]:
    """What `sweep_workspaces` removes, by the runs' ids."""
    found = {path.parent.name: path for path in stores.root.glob(f"runs/*/{WORKSPACE}")}
    query = select(RUNS.c.id, RUNS.c.state, RUNS.c.ended_at).where(RUNS.c.ended_at.is_not(None))
    oldest = stores.clock.now() - KEPT_FOR
    ended = []
    with stores.db.read() as connection:
        for row in connection.execute(query.where(RUNS.c.id.in_(found))):
            state = RunState(row.state)
            is_old = is_terminal(state) and from_iso(row.ended_at) < oldest
            if is_old or not keeps_workspace(state):
                ended.append(found[row.id])
    return sorted(ended)


def _workspace_of(stores: Stores, run_id: str) -> Path:
    return stores.root.absolute() / "runs" / run_id / WORKSPACE


# -- whether they can be mounted ---------------------------------------------------------------
def check_mounts(task: str, paths: Iterable[str], ability: str, *needed: Path) -> None:
    """Before a run: whether a task without a container can have volumes at these paths here.

    `ability`: what `probe_ability` found; `needed`: folders that it has to go on seeing. Raises
    Refused.
    """
    try:
        seen = needed_paths(*(str(path.absolute()) for path in needed))
        decide_mounts([Bind("", path) for path in paths], ability, seen)
    except MountRefused as error:
        raise Refused(f"Task {task!r}: {error}") from error
