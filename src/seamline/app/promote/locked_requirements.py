"""Which distributions, in which versions, a release brings: of its models' environments, and of
the components of its pipelines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from seamline.domain.errors import SeamlineError
from seamline.promote.release import StoredRelease
from seamline.register.pipelines.ir_file import load_ir
from seamline.store.stores import Stores
from seamline.train.ir.lightweight import recognise_function


@dataclass(frozen=True, order=True)
class Locked:
    """`what` needs `name` in this very version."""

    name: str
    version: str
    what: str


@dataclass(frozen=True)
class Requirements:
    locked: tuple[Locked, ...]
    #: "PIPELINE@TAG: pandas>=2": a version that only the task's start decides.
    unlocked: tuple[str, ...]
    #: Models whose environment nothing describes.
    missing: tuple[str, ...]


def list_requirements(stores: Stores, release: StoredRelease) -> Requirements:
    """NotFound or DigestMismatch where a lock or a pipeline is not what the release names."""
    found = [*_of_models(stores, release), *_of_pipelines(stores, release)]
    read = [(what, text, pinned_version(text)) for what, text in found]
    locked = {Locked(*one, what) for what, _, one in read if one is not None}
    has_lock = {(pin.name, pin.version) for pin in release.release.locks}
    missing = [pin for pin in release.release.packages if (pin.name, pin.version) not in has_lock]
    return Requirements(
        tuple(sorted(locked)),
        tuple(sorted({f"{what}: {text}" for what, text, one in read if one is None})),
        tuple(f"{pin.name} {pin.version}" for pin in missing),
    )


def pinned_version(text: str) -> tuple[str, str] | None:
    """Name and version of a requirement that leaves no choice.

    >>> pinned_version("Scikit_Learn==1.9.1"), pinned_version("numpy>=2"), pinned_version("a==1.*")
    (('scikit-learn', '1.9.1'), None, None)
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return None
    pins = [one for one in requirement.specifier if one.operator in ("==", "===")]
    if requirement.url or len(requirement.specifier) != 1 or not pins or "*" in pins[0].version:
        return None
    return canonicalize_name(requirement.name), pins[0].version


def _of_models(stores: Stores, release: StoredRelease) -> Iterator[tuple[str, str]]:
    for pin in release.release.locks:
        what = f"{pin.name} {pin.version}"
        for text in json.loads(stores.blobs.get(pin.digest, f"the lock of {what}")):
            yield what, str(text)


def _of_pipelines(stores: Stores, release: StoredRelease) -> Iterator[tuple[str, str]]:
    for pin in release.release.pipelines:
        what = f"{pin.name}@{pin.version}"
        document = load_ir(stores.blobs.get(pin.digest, f"pipeline {what}"))
        for text in _installed(document):
            yield what, text


def _installed(document: Mapping[str, Any]) -> Iterator[str]:
    for executor in document.get("deploymentSpec", {}).get("executors", {}).values():
        container = executor.get("container") or {}
        try:
            words = (container.get("command", []), container.get("args", []))
            function = recognise_function(*words)
        except (SeamlineError, ValueError):  # a container of its own; its image holds what it holds
            continue
        yield from function.requirements if function is not None else ()
