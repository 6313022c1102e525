"""`pipelines.lock`: which bytes an aggregated pipeline was made from.

    [[pipeline]]
    name = "late-arrival"
    repository = "default/main"
    tag = "1.0.0"
    digest = "sha256:…"
    interface_digest = "sha256:…"

The digest decides; the tag says to people what it was called when it was locked.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, SeamlineError

LOCK_FILE = "pipelines.lock"
DEFAULT_REPOSITORY = "default/main"
#: It becomes the name of a file.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}")
_HEAD = "# Written by seamline pipeline lock. The digests decide: keep it under version control.\n"


@dataclass(frozen=True, order=True)
class LockedPipeline:
    name: str
    repository: str
    tag: str
    digest: str
    interface_digest: str | None = None

    def to_json(self) -> dict[str, str]:
        fields = {name: getattr(self, name) for name in ("name", "repository", "tag", "digest")}
        return fields | (
            {"interface_digest": self.interface_digest} if self.interface_digest else {}
        )


def parse_lock(text: str, where: str = LOCK_FILE) -> tuple[LockedPipeline, ...]:
    """InvalidInput names the entry that is wrong; an unknown key is one, too.

    >>> one = LockedPipeline("late-arrival", "default/main", "1.0.0", "sha256:" + "0" * 64)
    >>> parse_lock(write_lock([one])) == (one,)
    True
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{where} is no TOML: {error}.", next_step=_make_again()) from error
    entries = document.pop("pipeline", [])
    if document or not isinstance(entries, list):
        raise _wrong(where, f"it holds {', '.join(document) or 'no list of [[pipeline]]'}")
    locked = tuple(_entry(entry, f"{where}, entry {n}") for n, entry in enumerate(entries, 1))
    names = [(one.repository, one.name) for one in locked]
    twice = sorted({f"{repo}/{name}" for repo, name in names if names.count((repo, name)) > 1})
    if twice:
        raise _wrong(where, f"it locks {', '.join(twice)} more than once")
    return locked


def write_lock(locked: Iterable[LockedPipeline]) -> str:
    """Sorted, so that two people who lock the same thing write the same file."""
    entries = []
    for one in sorted(locked, key=lambda one: (one.repository, one.name)):
        lines = [f"{key} = {json.dumps(value)}" for key, value in one.to_json().items()]
        entries.append("\n".join(["[[pipeline]]", *lines]))
    return _HEAD + "".join(f"\n{entry}\n" for entry in entries)


def update_lock(
    before: Sequence[LockedPipeline], new: Sequence[LockedPipeline]
) -> tuple[LockedPipeline, ...]:
    """What is locked anew replaces its old entry; all others stay."""
    by_name = {(one.repository, one.name): one for one in (*before, *new)}
    return tuple(by_name.values())


def read_lock_file(path: Path) -> tuple[LockedPipeline, ...]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidInput(f"{path} cannot be read: {why}.", next_step=_make_again()) from error
    return parse_lock(text, str(path))


def write_lock_file(path: Path, locked: Iterable[LockedPipeline]) -> None:
    """The old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(write_lock(locked), encoding="utf-8")
    partial.replace(path)


def _entry(entry: Any, where: str) -> LockedPipeline:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise _wrong(where, "it is no table of texts")
    known = {"name", "repository", "tag", "digest", "interface_digest"}
    if unknown := set(entry) - known:
        raise _wrong(where, f"nobody knows {', '.join(sorted(unknown))}")
    if missing := {"name", "tag", "digest"} - set(entry):
        raise _wrong(where, f"it has no {', '.join(sorted(missing))}")
    name = entry["name"].lower().replace("_", "-")  # as the registry looks it up
    one = LockedPipeline(**{"repository": DEFAULT_REPOSITORY, **entry, "name": name})
    for pattern, value in ((_NAME, one.name), (_TAG, one.tag), (_REPOSITORY, one.repository)):
        if not pattern.fullmatch(value):
            raise _wrong(where, f"{value!r} cannot stand there")
    for digest in filter(None, (one.digest, one.interface_digest)):
        try:
            parse_digest(digest)
        except SeamlineError as error:
            raise _wrong(where, error.message.rstrip(".")) from error
    return one


def _wrong(where: str, why: str) -> InvalidInput:
    return InvalidInput(f"{where}: {why}.", next_step=_make_again())


def _make_again() -> str:
    return "Write it with seamline pipeline lock NAME@TAG."
