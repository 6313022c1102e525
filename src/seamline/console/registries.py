"""What the pages of published pipelines and packages show."""

from __future__ import annotations

from typing import Any

from seamline.app.platform import Platform
from seamline.app.register.resolve_images import list_images
from seamline.app.register.show_pipeline import show_pipeline
from seamline.console.run_list import show_record
from seamline.domain.clock import iso
from seamline.domain.errors import not_found
from seamline.protocols.kfp_api.catalogue import Pipeline, Version, list_pipelines, versions_of
from seamline.register.owners import PACKAGES, list_owned_names
from seamline.register.packages.yanks import list_packages, show_package
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    list_repositories,
    list_versions,
)
from seamline.train.schedule.schedules import list_schedules
from seamline.train.views.listing import Comparison, Condition, Order, page_runs

RECENT_RUNS = 10
#: Of the ledger of a pipeline's tags.
RECENT_MOVES = 30


def read_pipelines(platform: Platform) -> dict[str, Any]:
    """Of every repository; the default one's first."""
    stores, owners = platform.stores, _owners(platform)
    repositories = sorted(
        list_repositories(stores), key=lambda one: (one != DEFAULT_REPOSITORY, one)
    )
    found = []
    for repository in repositories:
        for pipeline in list_pipelines(stores, repository):
            versions = versions_of(stores, pipeline.package, repository)
            found.append(
                {
                    "repository": repository,
                    "name": pipeline.package,
                    "display_name": pipeline.display_name,
                    "owner": owners.get((repository, pipeline.package)),
                    "versions": len(versions),
                    "newest": versions[0].display_name,
                    "digest": versions[0].digest,
                    "tags": list(versions[0].tags),
                    "published_at": versions[0].created_at,
                }
            )
    return {
        "pipelines": found,
        "has_repositories": repositories not in ([], [DEFAULT_REPOSITORY]),
        "now": iso(stores.clock.now()),
    }


def read_pipeline(
    platform: Platform, name: str, repository: str, version: str | None
) -> dict[str, Any]:
    """`version`: a tag or a digest of the one that is shown whole; None: the newest."""
    stores = platform.stores
    pipeline = _find_pipeline(platform, name, repository)
    versions = versions_of(stores, pipeline.package, repository)
    publishers = {
        one.digest: one.published_by
        for one in list_versions(stores, pipeline.package, repository=repository)
    }
    reference = version or versions[0].digest
    shown = show_pipeline(stores, f"{pipeline.package}@{reference}", repository=repository)
    digests = [one.digest for one in versions]
    is_default = repository == DEFAULT_REPOSITORY
    condition = Condition("pipeline_digest", Comparison.IN, digests)
    return {
        "pipeline": pipeline.to_json(),
        "repository": repository,
        "owner": _owners(platform).get((repository, pipeline.package)),
        "versions": [_version(one, publishers[one.digest]) for one in versions],
        "shown": _whole(platform, shown, versions),
        "moves": _moves(shown["history"]),
        "schedules": [
            one.to_json()
            for one in list_schedules(stores)
            if (is_default and one.pipeline.package == pipeline.package)
            or one.pipeline.digest in digests
        ],
        "runs": _newest(platform, condition),
        "now": iso(stores.clock.now()),
    }


def _version(one: Version, publisher: str) -> dict[str, Any]:
    return {
        "name": one.display_name,
        "digest": one.digest,
        "description": one.description,
        "tags": list(one.tags),
        "published_by": publisher,
        "published_at": one.created_at,
    }


def _whole(platform: Platform, shown: dict[str, Any], versions: list[Version]) -> dict[str, Any]:
    """Of one version: its interface, its images and who uses it."""
    kept = ("digest", "interface_digest", "interface", "commit", "releases", "size_bytes")
    names = {one.digest: one.display_name for one in versions}
    users = [
        {**one, "uses": [names.get(digest, digest) for digest in one["uses"]]}
        for one in (*shown["consumers"], *shown["consumers_of_other_versions"])
    ]
    return {
        **{name: shown[name] for name in kept},
        "name": names[shown["digest"]],
        "consumers": users,
        "images": [
            {"reference": one.reference, "digest": one.digest, "note": one.note}
            for one in list_images(platform.stores, shown["digest"])
        ],
    }


def _moves(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Newest first."""
    kept = ("tag", "before", "after", "by", "at")
    return [{name: one[name] for name in kept} for one in history[::-1][:RECENT_MOVES]]


def _owners(platform: Platform) -> dict[tuple[str, str], str]:
    """(repository, pipeline) → whose the name is."""
    return {
        (one.registry, one.name): str(one.owner)
        for one in list_owned_names(platform.stores)
        if one.registry != PACKAGES
    }


def _find_pipeline(platform: Platform, name: str, repository: str) -> Pipeline:
    known = list_pipelines(platform.stores, repository)
    for pipeline in known:
        # Links of Kubeflow's client have the id; it knows of the default repository only.
        if name == pipeline.package or (repository, name) == (DEFAULT_REPOSITORY, pipeline.id):
            return pipeline
    what = "pipeline" if repository == DEFAULT_REPOSITORY else f"pipeline in {repository}"
    raise not_found(what, name, [one.package for one in known])


def _newest(platform: Platform, condition: Condition) -> list[dict[str, Any]]:
    found = page_runs(
        platform.stores,
        conditions=(condition,),
        drawer=None,
        order=Order("created_at", is_descending=True),
        limit=RECENT_RUNS,
    )
    return [show_record(run) for run in found.runs]


def read_packages(platform: Platform) -> dict[str, Any]:
    stores = platform.stores
    found = []
    for package in list_packages(stores):
        versions = show_package(stores, package["name"]) if package["versions"] else []
        found.append({**package, "yanked": sum(one.yank is not None for one in versions)})
    return {"packages": found, "now": iso(stores.clock.now())}


def read_package(platform: Platform, name: str) -> dict[str, Any]:
    stores = platform.stores
    versions = [one.to_json() for one in reversed(show_package(stores, name))]
    held = versions[0]["name"]
    [package] = [one for one in list_packages(stores) if one["name"] == held]
    return {"package": package, "versions": versions, "now": iso(stores.clock.now())}
