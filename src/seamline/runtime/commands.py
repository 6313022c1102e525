"""Commands: tasks that are a program with an argument list instead of a Python function.

A command runs through the host's zygote like any other task: the forked process *becomes* the
program, so that its group, its limits, its log and its usage are the task's. Nothing of Python is
left in it. The argument list reaches it by file.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound, Refused, nearest
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.specs import Limits, TaskKind, TaskSpec

_FILE = "command.json"
#: Linux: MAX_ARG_STRLEN, 32 pages for one word with its closing zero.
_PAGES_PER_WORD = 32
#: Each word also costs a pointer in the new program's memory.
_POINTER_BYTES = 8
#: What a page of our own next to the words may take.
_SPARE_BYTES = 4096


@dataclass(frozen=True)
class Command:
    """A program and its argument list, of which the first word is the name it is called by."""

    program: Path
    words: tuple[str, ...]
    #: On top of what zygotes inherit.
    env: Mapping[str, str] = field(default_factory=dict)


def resolve_host_command(command: Sequence[str], path: str, *, allowed: bool) -> Path:
    """The program that a container component's command would be on this machine.

    `path` is the search path (`PATH`) of the processes that tasks inherit from; `allowed` is the
    operator's word that commands may run outside their images (setting `host_containers`).
    Raises Refused when they may not, or when nothing tells what to run; NotFound when the first
    word names no program here.
    """
    if not command or not command[0]:
        raise Refused(
            "The component names an image but no command; what its image would start is known "
            "to a container engine only.",
            next_step="Install podman or docker, or give the component a command.",
        )
    word = command[0]
    if not allowed:
        raise Refused(
            f"The component's command {word!r} belongs into its image, and there is no container "
            "engine that could run it there.",
            next_step="Install podman or docker; or start the server with "
            "SEAMLINE_HOST_CONTAINERS=1 to run such commands as processes of this machine, "
            "outside their images. Their tasks then have the fidelity host_process.",
        )
    if "/" in word and not Path(word).is_absolute():
        raise NotFound(
            f"The component's command {word!r} is relative to a folder of its image, which is not "
            "here.",
            next_step="Run it in its image with podman or docker.",
        )
    found = shutil.which(word, path=path)
    if found is None:
        raise NotFound(
            f"The component's command {word!r} is no program on this machine's PATH.",
            next_step=f"{_nearest_program(word, path)} Install it, or run the component in its "
            "image with podman or docker.".lstrip(),
        )
    return Path(found)


def _nearest_program(word: str, path: str) -> str:
    """A sentence when a program is spelled much like it; else nothing: a list would not help."""
    names: set[str] = set()
    for folder in path.split(os.pathsep):
        try:
            names.update(entry.name for entry in Path(folder).iterdir())
        except OSError:
            continue
    said = nearest(word, names)
    return said if said.startswith("Did you mean") else ""


def check_words(words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Raises InvalidInput for an argument list that the kernel would not take.

    >>> check_words(["sh", "-c", "true"])
    >>> check_words(["echo", "a", "b" * 200_000])
    Traceback (most recent call last):
    ...
    seamline.domain.errors.InvalidInput: Word 2 of the command 'echo' has 200000 bytes; the \
kernel takes at most 131071 in one word. Hand large values on as artifacts: the command then gets \
a path.
    """
    if not words:
        raise InvalidInput("A command needs at least one word.", next_step="Name a program.")
    most = _PAGES_PER_WORD * os.sysconf("SC_PAGE_SIZE") - 1
    advice = "Hand large values on as artifacts: the command then gets a path."
    total = _SPARE_BYTES
    for index, word in enumerate(words):
        size = _size_of(word)
        if size > most:
            raise InvalidInput(
                f"Word {index} of the command {words[0][:80]!r} has {size} bytes; the kernel takes "
                f"at most {most} in one word.",
                next_step=advice,
                index=index,
                size_bytes=size,
            )
        if "\0" in word:
            raise InvalidInput(
                f"Word {index} of the command {words[0][:80]!r} holds a zero character, which "
                "ends a word.",
                next_step="Hand binary values on as artifacts.",
                index=index,
            )
        total += size + 1 + _POINTER_BYTES
    for name, value in (env or {}).items():
        total += _check_variable(name, value, most)
    limit = os.sysconf("SC_ARG_MAX")
    if total > limit:
        raise InvalidInput(
            f"The command {words[0][:80]!r} and its environment have {total} bytes in "
            f"{len(words)} words; the kernel takes at most {limit}.",
            next_step=advice,
            size_bytes=total,
        )


def _check_variable(name: str, value: str, most: int) -> int:
    """Its size in the new program's memory."""
    if not name or "=" in name or "\0" in name + value:
        raise InvalidInput(
            f"{name!r} cannot be an environment variable.",
            next_step="Names have no equals sign; neither names nor values have zero characters.",
        )
    size = _size_of(name) + 1 + _size_of(value)
    if size > most:
        raise InvalidInput(
            f"The environment variable {name} has {size} bytes; the kernel takes at most {most}.",
            next_step="Hand large values on as artifacts.",
            size_bytes=size,
        )
    return size + 1 + _POINTER_BYTES


def _size_of(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def command_task(
    task_id: str,
    command: Command,
    *,
    work_dir: Path,
    log_path: Path,
    host: PythonEnvironment,
    limits: Limits | None = None,
) -> TaskSpec:
    """The task that becomes this command; its argument list is written into `work_dir`.

    `host` is the environment of the interpreter that runs Seamline: its zygote does the fork.
    """
    check_words(command.words, command.env)
    data = json.dumps({"program": str(command.program), "words": command.words}).encode()
    file = work_dir / _FILE
    write_private(file, data)
    return TaskSpec(
        task_id=task_id,
        kind=TaskKind.COMMAND,
        source=file,
        source_digest=digest_of(data),
        input_path=file,
        work_dir=work_dir,
        log_path=log_path,
        environment=host,
        env=dict(command.env),
        limits=limits or Limits(),
    )


def write_private(path: Path, data: bytes) -> None:
    """A new file that nobody else on this machine can read, not even for a moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
