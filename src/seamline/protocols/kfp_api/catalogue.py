"""Pipelines and versions as this API names them: ids that follow from names and digests.

The catalogue is the registry's (register/pipelines, repository default/main): what is
uploaded here can be downloaded there, and the other way round.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

import yaml

from seamline.domain.digests import short
from seamline.domain.errors import InvalidInput, not_found
from seamline.register.pipelines.catalogue import (
    DEFAULT_REPOSITORY,
    PipelinePackage,
    PipelineVersionRow,
    list_packages,
    list_tags,
    list_versions,
)
from seamline.register.pipelines.succession import versions_first
from seamline.register.pipelines.titles import Title, load_titles
from seamline.store.stores import Stores

_NAMESPACE = UUID("b1f8c1a4-6f5e-5b58-9a57-7d0d7f6c2e90")


def pipeline_id(package: str) -> str:
    """
    >>> pipeline_id("training") == pipeline_id("training"), pipeline_id("x") == pipeline_id("y")
    (True, False)
    """
    return str(uuid5(_NAMESPACE, f"pipeline/{package}"))


def version_id(package: str, digest: str) -> str:
    return str(uuid5(_NAMESPACE, f"version/{package}/{digest}"))


@dataclass(frozen=True)
class Pipeline:
    package: str
    display_name: str
    description: str
    created_at: str

    @property
    def id(self) -> str:
        return pipeline_id(self.package)

    def to_json(self) -> dict[str, Any]:
        return {
            "pipeline_id": self.id,
            "name": self.package,
            "display_name": self.display_name,
            "description": self.description,
            "created_at": self.created_at,
        }


@dataclass(frozen=True)
class Version:
    package: str
    digest: str
    display_name: str
    description: str
    created_at: str
    tags: tuple[str, ...]

    @property
    def id(self) -> str:
        return version_id(self.package, self.digest)

    def to_json(self, stores: Stores) -> dict[str, Any]:
        return {
            "pipeline_id": pipeline_id(self.package),
            "pipeline_version_id": self.id,
            "name": self.display_name,
            "display_name": self.display_name,
            "description": self.description,
            "created_at": self.created_at,
            "pipeline_spec": read_spec(stores, self.digest),
            "tags": {"digest": self.digest, "tags": ",".join(self.tags)},
        }


def package_of_title(title: str) -> str:
    """
    >>> package_of_title("Fraud training (EU)")
    'fraud-training-eu'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def list_pipelines(stores: Stores, repository: str = DEFAULT_REPOSITORY) -> list[Pipeline]:
    titles = load_titles(stores, repository=repository)
    return [_pipeline(package, titles) for package in list_packages(stores, repository=repository)]


def find_by_id(stores: Stores, wanted: str) -> Pipeline:
    packages = list_packages(stores)
    for package in packages:
        if pipeline_id(package.package) == wanted:
            titles = load_titles(stores, package.package, repository=DEFAULT_REPOSITORY)
            return _pipeline(package, titles)
    raise not_found("pipeline", wanted)


def versions_of(
    stores: Stores, package: str, repository: str = DEFAULT_REPOSITORY
) -> list[Version]:
    """Newest first."""
    titles = load_titles(stores, package, repository=repository)
    tags = list_tags(stores, package, repository=repository)
    newest_first = sorted(tags, key=lambda tag: tag.updated_at, reverse=True)
    return [
        _version(one, [tag.tag for tag in newest_first if tag.digest == one.digest], titles)
        for one in list_versions(stores, package, repository=repository)
    ]


def find_version(stores: Stores, wanted_pipeline: str, wanted: str) -> Version:
    found = find_by_id(stores, wanted_pipeline)
    versions = versions_of(stores, found.package)
    for version in versions:
        if version.id == wanted:
            return version
    raise not_found(f"version of the pipeline {found.display_name}", wanted)


def _pipeline(package: PipelinePackage, titles: Mapping[tuple[str, str], Title]) -> Pipeline:
    title = titles.get((package.package, ""), Title(package.package, ""))
    return Pipeline(package.package, title.title, title.description, package.created_at)


def _version(
    row: PipelineVersionRow, tags: list[str], titles: Mapping[tuple[str, str], Title]
) -> Version:
    """Called by its title, else by its highest x.y.z tag, else by the tag that was moved to it
    last, else by its digest."""
    tags = versions_first(tags)
    title = titles.get((row.package, row.digest))
    name = title.title if title else (tags[0] if tags else short(row.digest))
    description = title.description if title else ""
    return Version(row.package, row.digest, name, description, row.published_at, tuple(tags))


def read_spec(stores: Stores, digest: str) -> dict[str, Any]:
    """Compiled IR as one object, as the client sends it: with a platform's part, if it has one."""
    data = stores.blobs.get(digest, "pipeline")
    if data[:1] == b"{":
        return dict(json.loads(data))
    documents = [one for one in yaml.load_all(data, yaml.CSafeLoader) if one is not None]
    if len(documents) > 1:
        return {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    return dict(documents[0])


def spec_bytes(spec: Mapping[str, Any]) -> bytes:
    """One specification, one byte string: what the digest of a run's pipeline is made of.

    >>> spec_bytes({"b": 1, "a": "é"})
    b'{"a":"\\xc3\\xa9","b":1}'
    """
    try:
        text = json.dumps(
            spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except ValueError as error:  # NaN, an infinity, or half of a character
        raise InvalidInput(f"The pipeline's specification cannot be kept: {error}.") from None
