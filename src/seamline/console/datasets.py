"""Pages of datasets: their versions, what is in each column, and what differs between two."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from seamline.app.data.compare_datasets import diff_datasets
from seamline.app.platform import Platform
from seamline.console.page import Pages
from seamline.data.diff.findings import Finding
from seamline.data.diff.page import draw_columns, group_findings
from seamline.data.pictures import picture_column
from seamline.data.versions import (
    find_version,
    list_datasets,
    list_versions,
    show_version,
    version_profile,
)
from seamline.data.versions.removed import removed_numbers
from seamline.data.versions.tags import tags_by_version
from seamline.domain.clock import iso
from seamline.domain.errors import InvalidInput

#: Of the columns of a version so many are pictured, of its versions so many listed.
SHOWN_COLUMNS = 200
SHOWN_VERSIONS = 100
SHOWN_FINDINGS = 100


def add_dataset_views(router: APIRouter, pages: Pages) -> None:
    @router.get("/datasets")
    def datasets(request: Request) -> Response:
        _, who = pages.sessions.reader(request)
        return pages.page(request, "datasets.html", read_datasets(_platform(request)), who)

    @router.get("/datasets/{name}")
    def dataset(request: Request, name: str, version: str | None = None) -> Response:
        _, who = pages.sessions.reader(request)
        data = read_dataset(_platform(request), name, version)
        return pages.page(request, "dataset.html", data, who)

    @router.get("/datasets/{name}/diff")
    def diff(request: Request, name: str, before: str, after: str) -> Response:
        """`before` and `after` are versions of the dataset."""
        _, who = pages.sessions.reader(request)
        data = read_diff(_platform(request), name, before, after)
        return pages.page(request, "dataset_diff.html", data, who)


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


def read_datasets(platform: Platform) -> dict[str, Any]:
    return {"datasets": list_datasets(platform.stores), "now": iso(platform.stores.clock.now())}


def read_dataset(platform: Platform, name: str, version: str | None) -> dict[str, Any]:
    """The newest version, unless one is asked for."""
    stores = platform.stores
    if "@" in name:
        raise InvalidInput(f"{name!r} names no dataset.", next_step="Write /datasets/NAME.")
    shown = find_version(stores, name if version is None else f"{name}@{version}")
    profile = version_profile(stores, shown)
    found = show_version(stores, shown)
    columns = [
        {
            **column,
            "picture": picture_column(
                profile.basis.columns[column["name"]], profile.columns[column["name"]]
            ),
        }
        for column in found["columns"][:SHOWN_COLUMNS]
    ]
    versions = list_versions(stores, shown.dataset)
    with stores.db.read() as connection:
        tags = tags_by_version(connection, shown.dataset)
        removed = removed_numbers(connection, shown.dataset)
    return {
        "version": {**found, "columns": columns},
        "said_breaches": [one.sentence() for one in shown.breaches],
        "n_columns": len(found["columns"]),
        "versions": [
            {
                **one.to_json(),
                "tags": list(tags.get(one.version, ())),
                "is_removed": one.version in removed,
            }
            for one in reversed(versions[-SHOWN_VERSIONS:])
        ],
        "n_versions": len(versions),
        "numbers": [one.version for one in reversed(versions)],
        "now": iso(stores.clock.now()),
    }


def read_diff(platform: Platform, name: str, before: str, after: str) -> dict[str, Any]:
    found = diff_datasets(platform, f"{name}@{before}", f"{name}@{after}")
    diff = found.compared.diff
    shown = diff.findings[:SHOWN_FINDINGS]
    return {
        "name": name,
        "diff": {**found.to_json(), "findings": [one.to_json() for one in diff.findings]},
        "groups": [
            {
                "change": str(change),
                "title": title,
                "is_of_schema": change.is_of_schema,
                "findings": [_show(one) for one in findings],
            }
            for change, title, findings in group_findings(shown)
        ],
        "n_more": len(diff.findings) - len(shown),
        "pictures": [
            one.__dict__ for one in draw_columns(found.before, found.after, found.compared)
        ],
        "now": iso(platform.stores.clock.now()),
    }


def _show(finding: Finding) -> dict[str, Any]:
    first = None if finding.first is None else finding.first.say()
    return {**finding.to_json(), "said_first": first}
