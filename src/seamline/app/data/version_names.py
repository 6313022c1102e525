"""Versions of a dataset with their tags and splits, as people ask for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from seamline.app.platform import Platform
from seamline.data.splits.read import definition_for, list_splits, propose_splits
from seamline.data.versions.find import find_version, list_versions
from seamline.data.versions.removed import removed_numbers
from seamline.data.versions.tags import delete_tag, list_tags, tag_version, tags_by_version


def list_dataset_versions(platform: Platform, dataset: str) -> list[dict[str, Any]]:
    """Newest first; `is_removed`: retention has removed its rows."""
    stores = platform.stores
    versions = list_versions(stores, dataset)
    with stores.db.read() as connection:
        tags, gone = tags_by_version(connection, dataset), removed_numbers(connection, dataset)
    shown = ("version", "rows", "rows_added", "digest", "source", "run_id", "committed_by", "at")
    return [
        {name: getattr(one, name) for name in shown}
        | {"tags": tags.get(one.version, []), "is_removed": one.version in gone}
        for one in reversed(versions)
    ]


def tag_dataset(platform: Platform, reference: str, tag: str, *, by: str) -> dict[str, Any]:
    version = find_version(platform.stores, reference)
    made, is_new = tag_version(platform.stores, version, tag, by=by)
    return {**asdict(made), "is_new": is_new}


def untag(platform: Platform, dataset: str, tag: str, *, by: str) -> dict[str, Any]:
    return asdict(delete_tag(platform.stores, dataset, tag, by=by))


def list_version_tags(platform: Platform, dataset: str) -> list[dict[str, Any]]:
    find_version(platform.stores, dataset)
    return [asdict(one) for one in list_tags(platform.stores, dataset)]


def list_version_splits(platform: Platform, reference: str) -> list[dict[str, Any]]:
    """In the order of their definition. `fixed_by` is None as long as no run has used one: then
    they are what is declared now. `is_declared`: whether seamline.toml still says the same."""
    stores = platform.stores
    version = find_version(stores, reference)
    declared = platform.declarations().datasets.get(version.dataset)
    said = None
    if declared is not None and declared.splits is not None:
        said = definition_for(version, declared, declared.splits)
    found = list_splits(stores, version)
    if not found and said is not None:
        found = propose_splits(stores, version, said)
    return [{**one.to_json(), "is_declared": one.definition == said} for one in found.values()]
