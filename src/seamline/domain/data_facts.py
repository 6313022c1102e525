"""Facts of what happens to dataset versions after their commit: tags, splits, mirrors, removals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from seamline.domain.fact import Fact


@dataclass(frozen=True)
class DatasetTagMoved(Fact):
    kind: ClassVar[str] = "dataset.tag_moved"
    room: ClassVar[str] = "data"
    dataset: str
    tag: str
    before: int | None
    #: None: the tag was deleted.
    after: int | None


@dataclass(frozen=True)
class DatasetSplitFixed(Fact):
    """A split of a version was used for the first time: its definition holds from then on."""

    kind: ClassVar[str] = "dataset.split_fixed"
    room: ClassVar[str] = "data"
    dataset: str
    version: int
    split: str
    digest: str
    rows: int


@dataclass(frozen=True)
class DatasetMirrored(Fact):
    """A version was made from one of another environment: sampled and masked by this recipe."""

    kind: ClassVar[str] = "dataset.mirrored"
    room: ClassVar[str] = "data"
    dataset: str
    version: int
    digest: str
    source: str
    source_digest: str
    recipe_digest: str


@dataclass(frozen=True)
class DatasetRowsRemoved(Fact):
    """Retention: the files that only this version needed are gone; its profile and origin stay."""

    kind: ClassVar[str] = "dataset.rows_removed"
    room: ClassVar[str] = "data"
    dataset: str
    version: int
    digest: str
    reason: str


@dataclass(frozen=True)
class GarbageCollected(Fact):
    """Retention was applied: bytes that nothing refers to are gone."""

    kind: ClassVar[str] = "retention.applied"
    room: ClassVar[str] = "app"
    plan_digest: str
    freed_bytes: int
    #: Kind → how many of it.
    counts: dict[str, int]
