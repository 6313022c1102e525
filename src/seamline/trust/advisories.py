"""Known-bad distributions of PyPI, from advisories in OSV's format that lie on this machine.

Nothing is asked over a network: what is not in the file is not known. The source is a folder (with
JSON and zip files below it), or one zip file as OSV exports it for an ecosystem; each JSON file is
one advisory. Which versions are affected is decided as https://ossf.github.io/osv-schema/ says,
with versions read by PEP 440.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from seamline.domain.errors import InvalidInput

ECOSYSTEM = "PyPI"
#: Of one advisory; the longest published are far below.
MAX_FILE_BYTES = 8 << 20
#: Of all of them, unpacked.
MAX_SOURCE_BYTES = 4 << 30
#: Of a range in versions; those in commits of a repository say nothing about a distribution.
_IN_VERSIONS = ("ECOSYSTEM", "SEMVER")


class _Package(msgspec.Struct):
    name: str
    ecosystem: str


class _Range(msgspec.Struct):
    type: str
    events: list[dict[str, str]]


class _Affected(msgspec.Struct):
    package: _Package | None = None
    ranges: list[_Range] = []
    versions: list[str] = []


class _Document(msgspec.Struct):
    id: str
    modified: datetime
    withdrawn: datetime | None = None
    aliases: list[str] = []
    summary: str = ""
    affected: list[_Affected] = []


@dataclass(frozen=True)
class Affected:
    """What an advisory says about one distribution. A span ends before `fixed`, or with `last`."""

    advisory: str
    aliases: tuple[str, ...]
    summary: str
    spans: tuple[Span, ...]
    versions: frozenset[str]


@dataclass(frozen=True)
class Span:
    """Versions from `introduced` on; "0" is before all versions."""

    introduced: str = "0"
    fixed: str | None = None
    last: str | None = None


@dataclass(frozen=True)
class Advisories:
    """`newest`: when the last of them was modified; `digest` names all bytes that were read."""

    digest: str
    n: int
    newest: datetime | None
    #: Normalised name → what is known about it.
    about: Mapping[str, tuple[Affected, ...]]


@dataclass(frozen=True)
class Hit:
    """A distribution that an advisory affects."""

    name: str
    version: str
    advisory: str
    aliases: tuple[str, ...]
    summary: str
    fixed_in: str | None

    def sentence(self) -> str:
        """
        >>> Hit("jinja2", "3.1.2", "GHSA-1", ("CVE-2024-1",), "XSS", "3.1.3").sentence()
        'jinja2 3.1.2: GHSA-1 (CVE-2024-1), XSS; fixed in 3.1.3'
        """
        also = f" ({', '.join(self.aliases)})" if self.aliases else ""
        about = f", {self.summary}" if self.summary else ""
        fixed = f"fixed in {self.fixed_in}" if self.fixed_in else "no fixed version is known"
        return f"{self.name} {self.version}: {self.advisory}{also}{about}; {fixed}"


def read_advisories(source: Path, names: Iterable[str]) -> Advisories:
    """All that the source holds of PyPI is counted; of `names`, it is kept.

    Raises InvalidInput where there is no such source, or one of its files is no advisory: half a
    source must not pass for a whole one.
    """
    wanted = {canonicalize_name(name) for name in names}
    about: dict[str, list[Affected]] = {}
    hasher, n, newest, total = hashlib.sha256(), 0, None, 0
    for where, data in _files(source):
        total += len(data)
        if total > MAX_SOURCE_BYTES:
            raise InvalidInput(f"{source} holds more than {MAX_SOURCE_BYTES:,} bytes.")
        hasher.update(hashlib.sha256(where.encode()).digest() + hashlib.sha256(data).digest())
        document = _read(where, data)
        mine = [one for one in document.affected if _is_of_pypi(one)]
        if not mine:
            continue
        n += 1
        modified = document.modified.astimezone(UTC)
        newest = modified if newest is None else max(newest, modified)
        if document.withdrawn is None:
            for one in mine:
                name = canonicalize_name(one.package.name) if one.package else ""
                if name in wanted:
                    about.setdefault(name, []).append(_affected(document, one))
    kept = {name: tuple(found) for name, found in about.items()}
    return Advisories(f"sha256:{hasher.hexdigest()}", n, newest, kept)


def find_hits(advisories: Advisories, name: str, version: str) -> list[Hit]:
    """Those that affect this version; one for each advisory. InvalidInput where a version, of the
    distribution or in an advisory about it, is none."""
    found: dict[str, Hit] = {}
    for one in advisories.about.get(canonicalize_name(name), ()):
        span = _span_of(one, version)
        if span is not None:
            hit = Hit(name, version, one.advisory, one.aliases, one.summary, span.fixed)
            found.setdefault(one.advisory, hit)
    return list(found.values())


def _span_of(one: Affected, version: str) -> Span | None:
    """The span that holds the version; an empty one where it is listed by itself."""
    # 2.1+cpu is built from 2.1: a local version is as bad as the public one.
    mine = Version(_version(version, "it").public)
    for span in one.spans:
        if holds(span, mine, one.advisory):
            return span
    if version in one.versions or any(_is_same(text, mine) for text in one.versions):
        later = [span.fixed for span in one.spans if span.fixed]
        after = [text for text in later if _version(text, one.advisory) > mine]
        least = min(after, key=lambda text: _version(text, one.advisory), default=None)
        return Span(fixed=least)
    return None


def holds(span: Span, version: Version, advisory: str = "") -> bool:
    """
    >>> holds(Span("0", "2.0"), Version("2.0")), holds(Span("1.0", last="2.0"), Version("2.0"))
    (False, True)
    >>> holds(Span("0", "2.0"), Version("2.0rc1"))
    True
    """
    if span.introduced != "0" and version < _version(span.introduced, advisory):
        return False
    if span.fixed is not None:
        return version < _version(span.fixed, advisory)
    return span.last is None or version <= _version(span.last, advisory)


def spans_of(events: Iterable[Mapping[str, str]], advisory: str = "") -> tuple[Span, ...]:
    """A range's events, in whatever order, as spans that do not overlap.

    >>> spans_of([{"fixed": "1.2"}, {"introduced": "2.0"}, {"introduced": "0"}])
    (Span(introduced='0', fixed='1.2', last=None), Span(introduced='2.0', fixed=None, last=None))
    """

    def place(event: tuple[str, str]) -> tuple[bool, Version]:
        is_later = event[1] != "0"
        return is_later, _version(event[1], advisory) if is_later else Version("0")

    found: list[Span] = []
    begun: str | None = None
    for kind, text in sorted((item for event in events for item in event.items()), key=place):
        if kind == "introduced" and begun is None:
            begun = text
        elif kind in ("fixed", "last_affected") and begun is not None:
            is_fixed = kind == "fixed"
            found.append(Span(begun, text if is_fixed else None, None if is_fixed else text))
            begun = None
    return tuple(found) if begun is None else (*found, Span(begun))


def _affected(document: _Document, one: _Affected) -> Affected:
    spans = [
        span
        for each in one.ranges
        if each.type in _IN_VERSIONS
        for span in spans_of(each.events, document.id)
    ]
    # Nothing says which versions (or only commits do): all of them.
    if not spans and not one.versions:
        spans = [Span()]
    versions = frozenset(one.versions)
    return Affected(document.id, tuple(document.aliases), document.summary, tuple(spans), versions)


def _is_of_pypi(one: _Affected) -> bool:
    return one.package is not None and one.package.ecosystem.partition(":")[0] == ECOSYSTEM


def _version(text: str, advisory: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise InvalidInput(f"{advisory}: {text!r} is no version of PyPI.") from error


def _is_same(text: str, version: Version) -> bool:
    """1.0 is 1.0.0; what is no version is nobody's."""
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _read(where: str, data: bytes) -> _Document:
    try:
        return msgspec.json.decode(data, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{where} is no advisory in OSV's format: {error}.",
            next_step="Fetch the source again, whole.",
        ) from error


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each advisory, in a fixed order."""
    try:
        if source.is_dir():
            below = sorted(one for one in source.rglob("*") if one.suffix in (".json", ".zip"))
            for path in below:
                name = path.relative_to(source).as_posix()
                yield from _members(path, name) if path.suffix == ".zip" else [_whole(path, name)]
        else:
            yield from _members(source, source.name)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise InvalidInput(f"{source} cannot be read: {error}.") from error


def _whole(path: Path, name: str) -> tuple[str, bytes]:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InvalidInput(f"{path} is no advisory: it has more than {MAX_FILE_BYTES:,} bytes.")
    return name, path.read_bytes()


def _members(path: Path, where: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for one in sorted(archive.infolist(), key=lambda one: one.filename):
            if not one.filename.endswith(".json"):
                continue
            with archive.open(one) as file:
                data = file.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise InvalidInput(f"{where}/{one.filename} is no advisory: it is too long.")
            yield f"{where}/{one.filename}", data
