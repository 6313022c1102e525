"""Which images a compiled pipeline names, and what a reference to one means."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.domain.errors import InvalidInput

DOCKER_HUB = "registry-1.docker.io"
_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:\d{1,5})?")
_PLACEHOLDER = "{{$"
#: Longer ones are not looked up: no registry has such names.
MAX_REFERENCE = 400


@dataclass(frozen=True)
class ImageReference:
    """`registry` is a host, with a port where it has one; `tag` is empty where only a digest is."""

    registry: str
    name: str
    tag: str
    digest: str | None

    @property
    def is_mutable(self) -> bool:
        return self.digest is None


def parse_image(text: str) -> ImageReference:
    """As container engines read it; InvalidInput for what they would not.

    >>> parse_image("python:3.11")
    ImageReference(registry='registry-1.docker.io', name='library/python', tag='3.11', digest=None)
    >>> found = parse_image("127.0.0.1:5000/team/train@sha256:" + "0" * 64)
    >>> found.registry, found.name, found.is_mutable
    ('127.0.0.1:5000', 'team/train', False)
    """
    rest, at, digest = text.partition("@")
    first, slash, below = rest.partition("/")
    has_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    registry, path = (first, below) if has_host else (DOCKER_HUB, rest)
    name, colon, tag = path.partition(":")
    if registry in ("docker.io", "index.docker.io"):
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in name:
        name = f"library/{name}"
    fits = len(text) <= MAX_REFERENCE and _HOST.fullmatch(registry) and _NAME.fullmatch(name)
    is_sound = bool(fits) and (not colon or bool(_TAG.fullmatch(tag)))
    if not is_sound or (at and not _DIGEST.fullmatch(digest)):
        raise InvalidInput(
            f"{text[:200]!r} is no reference to an image.",
            next_step="Write HOST/NAME:TAG or HOST/NAME@sha256:…",
        )
    return ImageReference(registry, name, tag or ("" if at else "latest"), digest or None)


def with_digest(text: str, digest: str) -> str:
    """The same name, by digest: engines take no tag beside one.

    >>> with_digest("127.0.0.1:5000/team/train:1", "sha256:00ff")
    '127.0.0.1:5000/team/train@sha256:00ff'
    >>> with_digest("python@sha256:00ff", "sha256:11ee")
    'python@sha256:00ff'
    """
    if "@" in text:
        return text
    path, slash, last = text.rpartition("/")
    return f"{path}{slash}{last.partition(':')[0]}@{digest}"


#: Of a container: image, command, arguments → whether its image counts.
Counts = Callable[[str, Sequence[str], Sequence[str]], bool]


def every_image(_image: str, _command: Sequence[str], _args: Sequence[str]) -> bool:
    return True


def images_of(document: Mapping[str, Any], counts: Counts = every_image) -> tuple[str, ...]:
    """What its containers name, sorted, each once; without those that only a task's start decides.

    >>> train = {"container": {"image": "example.org/train:1", "command": ["train"]}}
    >>> images_of({"deploymentSpec": {"executors": {"exec-train": train}}})
    ('example.org/train:1',)
    """
    return tuple(image for image in _named(document, counts) if _PLACEHOLDER not in image)


def images_decided_at_start(
    document: Mapping[str, Any], counts: Counts = every_image
) -> tuple[str, ...]:
    """Images with a placeholder in their names: no digest can be known before the task starts."""
    return tuple(image for image in _named(document, counts) if _PLACEHOLDER in image)


def _named(document: Mapping[str, Any], counts: Counts) -> list[str]:
    spec = _mapping(document.get("deploymentSpec"))
    found: set[str] = set()
    for executor in _mapping(spec.get("executors")).values():
        container = _mapping(_mapping(executor).get("container"))
        image = container.get("image")
        if not isinstance(image, str) or not image or image in found:
            continue
        if counts(image, *_words(container)):
            found.add(image)
    return sorted(found)


def _words(container: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    command, args = container.get("command"), container.get("args")
    return _texts(command), _texts(args)


def _texts(value: Any) -> list[str]:
    return [str(word) for word in value] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    """Uploads are checked for what makes them pipelines only: the rest may be anything."""
    return value if isinstance(value, Mapping) else {}
