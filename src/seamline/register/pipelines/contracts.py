"""The contract between teams: under x.y.z, users of a pipeline are not broken.

A version that gets an x.y.z tag is compared with the one that it follows. Under any other tag, or
none, a team publishes what it likes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from seamline.domain.digests import short
from seamline.domain.errors import Refused
from seamline.register.pipelines.consumers import ReleasesOf, find_consumers
from seamline.register.pipelines.interface_changes import Change, breaks_of, decide_changes
from seamline.register.pipelines.interfaces import Shape
from seamline.register.pipelines.shapes import find_interface, load_shape
from seamline.register.pipelines.succession import (
    decide_followed,
    may_break,
    next_breaking,
    parse_version,
)
from seamline.register.rows import PIPELINE_NAMES, PIPELINE_TAGS, PIPELINE_VERSIONS
from seamline.store.stores import Stores

#: Of consumers in one sentence.
_MAX_NAMED = 8


def no_releases(_connection: Connection, _digests: Sequence[str]) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Verdict:
    """What publishing a file under `tag` would mean for the users of the version before."""

    package: str
    #: None: the file was compared, and no version was meant.
    tag: str | None
    #: What it was compared with; None for the first version of all.
    against: str | None
    against_digest: str | None
    changes: tuple[Change, ...]
    may_break: bool
    #: Pipelines and releases that use what it was compared with.
    consumers: tuple[str, ...] = ()

    @property
    def breaks(self) -> tuple[Change, ...]:
        return breaks_of(self.changes)

    @property
    def is_refused(self) -> bool:
        return bool(self.breaks) and not self.may_break

    @property
    def next_version(self) -> str | None:
        """The lowest version under which these breaks may be published."""
        is_version = self.against is not None and parse_version(self.against)
        return next_breaking(self.against) if is_version and self.against else None

    def to_json(self) -> dict[str, Any]:
        return {
            "package": self.package,
            "tag": self.tag,
            "against": self.against,
            "against_digest": self.against_digest,
            "verdict": "breaking" if self.is_refused else "compatible",
            "may_break": self.may_break,
            "changes": [change.to_json() for change in self.changes],
            "consumers": list(self.consumers),
            "next_version": self.next_version,
        }


@dataclass(frozen=True)
class Judge:
    """Compares a file with versions of one pipeline, inside the caller's transaction."""

    stores: Stores
    connection: Connection
    repository: str
    package: str
    releases_of: ReleasesOf = no_releases

    def wait_for_others(self) -> None:
        """Whoever tags versions of this pipeline at the same time goes first or comes after, so
        that each is compared with what is there then. Call it before any fact is appended: the
        ledger is locked after the name by everybody, or two would wait for each other."""
        name = PIPELINE_NAMES.c
        query = select(name.package).where(
            name.repository == self.repository, name.package == self.package
        )
        self.connection.execute(query.with_for_update()).all()

    def judge_tag(self, tag: str, shape: Shape, digest: str) -> Verdict:
        """Under this x.y.z tag. The first one of all may do anything; it is shown against the
        newest version, if there is one."""
        tags = self._tags()
        followed = decide_followed(tag, tags)
        if followed is not None:
            return self.judge(tag, followed, tags[followed], shape)
        newest = None if any(map(parse_version, tags)) else self._newest(digest)
        if newest is None:
            return Verdict(self.package, tag, None, None, (), may_break=True)
        return self.judge(tag, None, newest, shape)

    def keeps_interface(self, tag: str, shape: Shape) -> bool:
        """Does it look to its users as the version that it follows? That is known without reading
        the other's file, and so at most releases."""
        tags = self._tags()
        followed = decide_followed(tag, tags)
        if followed is None:
            return False
        return find_interface(self.connection, tags[followed]) == shape.interface.digest

    def judge(self, tag: str | None, against: str | None, digest: str, shape: Shape) -> Verdict:
        """Against a version: by its tag, or (`against` is None) by its digest alone."""
        before = load_shape(self.stores, digest, f"pipeline {self.package}")
        changes = decide_changes(before.interface, shape.interface)
        if against is not None and parse_version(against):
            may = tag is not None and parse_version(tag) is not None and may_break(against, tag)
        else:
            may = tag is not None  # nothing was promised
        consumers = self._users(digest) if breaks_of(changes) else ()
        return Verdict(self.package, tag, against or digest, digest, changes, may, consumers)

    def _users(self, digest: str) -> tuple[str, ...]:
        """Of every version: whoever uses an older one is broken by this one all the same."""
        found = find_consumers(self.connection, self.repository, self.package)
        versions = select(PIPELINE_VERSIONS.c.digest).where(
            PIPELINE_VERSIONS.c.repository == self.repository,
            PIPELINE_VERSIONS.c.package == self.package,
        )
        digests = list(self.connection.execute(versions).scalars())
        releases = self.releases_of(self.connection, digests)
        return (*map(str, found), *(f"release {alias}" for alias in releases))

    def _tags(self) -> Mapping[str, str]:
        rows = self.connection.execute(
            select(PIPELINE_TAGS.c.tag, PIPELINE_TAGS.c.digest).where(
                PIPELINE_TAGS.c.repository == self.repository,
                PIPELINE_TAGS.c.package == self.package,
                PIPELINE_TAGS.c.deleted.is_(False),
            )
        )
        return {row.tag: row.digest for row in rows}

    def _newest(self, besides: str) -> str | None:
        version = PIPELINE_VERSIONS.c
        query = select(version.digest).where(
            version.repository == self.repository,
            version.package == self.package,
            version.digest != besides,
        )
        found: str | None = self.connection.execute(
            query.order_by(version.published_at.desc(), version.digest).limit(1)
        ).scalar()
        return found


def check_contract(judge: Judge, tag: str, digest: str, shape: Shape | None) -> None:
    """Refused, naming breaks and consumers, when `tag` must not stand for this version.

    `shape`: None where it is to be read from the stored bytes.
    """
    if parse_version(tag) is None:
        return
    known = shape or load_shape(judge.stores, digest, f"pipeline {judge.package}")
    if judge.keeps_interface(tag, known):
        return
    verdict = judge.judge_tag(tag, known, digest)
    if verdict.is_refused:
        raise refusal_of(verdict)


def refusal_of(verdict: Verdict) -> Refused:
    against = verdict.against or ""
    named = short(against) if against.startswith("sha256:") else against
    breaks = "; ".join(map(str, verdict.breaks))
    return Refused(
        f"{verdict.package} {verdict.tag or 'in this file'} breaks what {named} promised: {breaks}."
        f" {_say_consumers(verdict.consumers)}",
        next_step=f"Publish it as {verdict.next_version}, or keep what {named} takes and gives.",
        breaks=[change.to_json() for change in verdict.breaks],
        consumers=list(verdict.consumers),
    )


def _say_consumers(consumers: Sequence[str]) -> str:
    """
    >>> _say_consumers(["all-models@1.2.0", "release spring"])
    'It is used by all-models@1.2.0, release spring.'
    >>> _say_consumers([])
    'Nobody is known to use it.'
    """
    if not consumers:
        return "Nobody is known to use it."
    more = len(consumers) - _MAX_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"It is used by {', '.join(consumers[:_MAX_NAMED])}{rest}."
