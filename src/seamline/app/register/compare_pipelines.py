"""Versions of pipelines beside one another: does one break users, what changed, what is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamline.app.references import split_reference
from seamline.app.register.pipeline_users import releases_of
from seamline.app.register.show_pipeline import resolve_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, NotFound
from seamline.register.names import normalised_package
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY, list_tags
from seamline.register.pipelines.contracts import Judge, Verdict
from seamline.register.pipelines.interface_changes import breaks_of, decide_changes
from seamline.register.pipelines.interfaces import Interface, Shape, read_components
from seamline.register.pipelines.ir_file import load_ir, package_of_document
from seamline.register.pipelines.publishing import check_tag_free
from seamline.register.pipelines.shapes import load_shape, record_missing_shapes, shape_of_document
from seamline.register.pipelines.succession import parse_version
from seamline.register.pipelines.tags import is_tag
from seamline.store.stores import Stores


def check_pipeline(
    stores: Stores,
    data: bytes,
    *,
    against: str | None = None,
    tag: str | None = None,
    repository: str = DEFAULT_REPOSITORY,
) -> Verdict:
    """What publishing `data` as `tag` would be answered, without publishing anything.

    `against`: TAG, or NAME@TAG; None: what `tag` would follow. Raises Conflict when `tag` stands
    for another version already.
    """
    if against is None and tag is None:
        raise InvalidInput(
            "There is nothing to compare with.",
            next_step="Name the version with --against TAG, the intended one with --as 1.3.0, "
            "or both.",
        )
    if tag is not None and not is_tag(tag):
        raise InvalidInput(f"{tag!r} cannot be a tag.", next_step="Write 1.3.0, for one.")
    document = load_ir(data)
    package, shape = package_of_document(document), shape_of_document(document)
    if against is not None and "@" in against:
        package = normalised_package(split_reference(against)[0])
        against = split_reference(against)[1]
    record_missing_shapes(stores)
    if against is not None:
        found = resolve_pipeline(stores, f"{package}@{against}", repository=repository)
        against = _version_tag(stores, package, against, found.digest, repository)
    with stores.db.read() as connection:
        judge = Judge(stores, connection, repository, package, releases_of)
        if tag is not None:
            check_tag_free(connection, repository, package, tag, digest_of(data))
        if against is not None:
            return judge.judge(tag, against, found.digest, shape)
        return _judge_as_published(judge, tag or "", shape, digest_of(data))


def _judge_as_published(judge: Judge, tag: str, shape: Shape, digest: str) -> Verdict:
    if parse_version(tag) is None:
        return Verdict(judge.package, tag, None, None, (), may_break=True)
    return judge.judge_tag(tag, shape, digest)


def _version_tag(stores: Stores, package: str, tag: str, digest: str, repository: str) -> str:
    """`latest` promises what the version promises that it stands for."""
    if parse_version(tag):
        return tag
    tags = list_tags(stores, package, repository=repository)
    versions = [
        (version, one.tag)
        for one in tags
        if one.digest == digest and (version := parse_version(one.tag))
    ]
    return max(versions)[1] if versions else tag


def diff_pipelines(
    stores: Stores, before: str, after: str, *, repository: str = DEFAULT_REPOSITORY
) -> dict[str, Any]:
    """Changes of the interface, and of the components by their names in the two files."""
    documents = []
    for reference in (before, after):
        found = resolve_pipeline(stores, reference, repository=repository)
        data = stores.blobs.get(found.digest, f"pipeline {reference}")
        documents.append((found, load_ir(data)))
    (first, old), (second, new) = documents
    changes = decide_changes(shape_of_document(old).interface, shape_of_document(new).interface)
    return {
        "before": {"package": first.package, "digest": first.digest},
        "after": {"package": second.package, "digest": second.digest},
        "compatible": not breaks_of(changes),
        "changes": [change.to_json() for change in changes],
        "components": _diff_components(read_components(old), read_components(new)),
    }


def _diff_components(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, list[str]]:
    return {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "changed": [name for name in new if name in old and old[name] != new[name]],
    }


@dataclass(frozen=True)
class Pinned:
    """One entry of a lock file."""

    name: str
    tag: str
    digest: str
    repository: str = DEFAULT_REPOSITORY


def list_outdated(stores: Stores, pins: Sequence[Pinned]) -> list[dict[str, Any]]:
    """Per pin: the newest version, the newest one that does not break its users, and how the
    newest one does. What cannot be found is a row that says so: one team's mistake is not to
    hide the other's versions."""
    return [_outdated(stores, pin) for pin in pins]


def _outdated(stores: Stores, pin: Pinned) -> dict[str, Any]:
    row: dict[str, Any] = {"name": pin.name, "repository": pin.repository, "tag": pin.tag}
    row |= {"digest": pin.digest, "newest": None, "newest_compatible": None}
    row |= {"compatible": True, "breaks": [], "problem": None}
    try:
        return row | _newer(stores, pin)
    except NotFound as error:
        return row | {"problem": str(error)}


def _newer(stores: Stores, pin: Pinned) -> dict[str, Any]:
    here = load_shape(stores, pin.digest, f"pipeline {pin.name}").interface
    tags = {one.tag: one.digest for one in list_tags(stores, pin.name, repository=pin.repository)}
    newer = _newer_tags(pin, tags)
    breaks = {tag: _breaks(stores, here, tags[tag]) for tag in newer}
    fitting = [tag for tag in newer if not breaks[tag]]
    newest = newer[-1] if newer else None
    return {
        "newest": newest,
        "newest_digest": tags[newest] if newest else None,
        "newest_compatible": fitting[-1] if fitting else None,
        "compatible": newest is None or not breaks[newest],
        "breaks": breaks[newest] if newest else [],
    }


def _newer_tags(pin: Pinned, tags: Mapping[str, str]) -> list[str]:
    """Oldest first. A tag that moves is newer than itself when it has moved."""
    here = parse_version(pin.tag)
    if here is None:
        return [pin.tag] if tags.get(pin.tag, pin.digest) != pin.digest else []
    versions = [(version, tag) for tag in tags if (version := parse_version(tag))]
    return [tag for version, tag in sorted(versions) if version > here]


def _breaks(stores: Stores, before: Interface, digest: str) -> list[str]:
    after = load_shape(stores, digest, "pipeline").interface
    return [str(change) for change in breaks_of(decide_changes(before, after))]
