"""Pipelines and their versions."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import APIRouter, File, UploadFile

from seamline.app.platform import Platform
from seamline.app.register.pipeline_users import releases_of
from seamline.domain.digests import digest_of, short
from seamline.domain.errors import Conflict, InvalidInput, Refused, not_found
from seamline.protocols.kfp_api.catalogue import (
    Pipeline,
    Version,
    find_by_id,
    find_version,
    list_pipelines,
    package_of_title,
    pipeline_id,
    spec_bytes,
    versions_of,
)
from seamline.protocols.kfp_api.lists import Listing, page_of
from seamline.protocols.kfp_api.shapes import NewVersion
from seamline.protocols.kfp_api.status import api_route
from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.protocols.native.access import PlatformOf, Publisher, Reader
from seamline.register.pipelines.catalogue import DEFAULT_REPOSITORY
from seamline.register.pipelines.ir_file import package_of_ir
from seamline.register.pipelines.publishing import delete_package, delete_version, publish_pipeline
from seamline.register.pipelines.tags import is_tag
from seamline.register.pipelines.titles import Title, give_title
from seamline.store.locks import one_at_a_time
from seamline.trust.roles import Principal, Verb

_KEYS = {
    "id": "id",
    "display_name": "display_name",
    "name": "display_name",
    "created_at": "created_at",
    "description": "description",
}
PIPELINE_KEYS = {**_KEYS, "pipeline_id": "id"}
VERSION_KEYS = {**_KEYS, "pipeline_version_id": "id", "digest": "digest"}
Uploaded = Annotated[UploadFile | None, File()]


def make_router() -> APIRouter:
    router = APIRouter(route_class=api_route(MAX_UPLOAD_BYTES, Verb.PUBLISH))
    _add_uploads(router)
    _add_pipelines(router)
    _add_versions(router)
    return router


def _add_uploads(router: APIRouter) -> None:
    @router.post("/pipelines/upload")
    def upload(
        platform: PlatformOf,
        who: Publisher,
        uploadfile: Uploaded = None,
        name: str = "",
        display_name: str = "",
        description: str = "",
    ) -> dict[str, Any]:
        title, data = Title(display_name or name, description), _bytes_of(uploadfile)
        with _alone(platform):
            return _publish_first(platform, data, title, who).to_json()

    @router.post("/pipelines/upload_version")
    def upload_version(
        platform: PlatformOf,
        who: Publisher,
        pipelineid: str,
        uploadfile: Uploaded = None,
        name: str = "",
        display_name: str = "",
        description: str = "",
    ) -> dict[str, Any]:
        pipeline = find_by_id(platform.stores, pipelineid)
        title, data = Title(display_name or name, description), _bytes_of(uploadfile)
        with _alone(platform):
            made = _publish_version(platform, pipeline, data, title, who)
        return made.to_json(platform.stores)


def _add_pipelines(router: APIRouter) -> None:
    @router.get("/pipelines")
    def list_(platform: PlatformOf, who: Reader, request: Listing) -> dict[str, Any]:
        found = list_pipelines(platform.stores)
        page, total, token = page_of(request, found, PIPELINE_KEYS, _value, lambda one: one.id)
        shown = [one.to_json() for one in page]
        return {"pipelines": shown, "total_size": total, "next_page_token": token}

    @router.get("/pipelines/names/{name}")
    def by_name(platform: PlatformOf, who: Reader, name: str) -> dict[str, Any]:
        known = list_pipelines(platform.stores)
        for one in known:
            if name in (one.display_name, one.package):
                return one.to_json()
        raise not_found("pipeline", name, [one.display_name for one in known])

    @router.get("/pipelines/{pipeline_id}")
    def get(platform: PlatformOf, who: Reader, pipeline_id: str) -> dict[str, Any]:
        return find_by_id(platform.stores, pipeline_id).to_json()

    @router.delete("/pipelines/{pipeline_id}")
    def delete(platform: PlatformOf, who: Publisher, pipeline_id: str) -> dict[str, Any]:
        """With all its versions and tags; the bytes stay, since releases name them."""
        found = find_by_id(platform.stores, pipeline_id)
        with _alone(platform):
            delete_package(
                platform.stores, found.package, by=who.name, who=who, releases_of=releases_of
            )
        return {}

    @router.post("/pipelines")
    @router.post("/pipelines/create")
    def create(who: Publisher) -> dict[str, Any]:
        raise Refused(
            "A pipeline begins with its first version, and this server fetches no URLs.",
            next_step="Upload the compiled file: client.upload_pipeline(…).",
        )


def _add_versions(router: APIRouter) -> None:
    base = "/pipelines/{pipeline_id}/versions"

    @router.get(base)
    def list_(
        platform: PlatformOf, who: Reader, pipeline_id: str, request: Listing
    ) -> dict[str, Any]:
        found = versions_of(platform.stores, find_by_id(platform.stores, pipeline_id).package)
        page, total, token = page_of(request, found, VERSION_KEYS, _value, lambda one: one.id)
        shown = [one.to_json(platform.stores) for one in page]
        return {"pipeline_versions": shown, "total_size": total, "next_page_token": token}

    @router.post(base)
    def create(
        platform: PlatformOf, who: Publisher, pipeline_id: str, body: NewVersion
    ) -> dict[str, Any]:
        if body.pipeline_spec is None:
            raise Refused(
                "The version has no pipeline_spec, and this server fetches no URLs.",
                next_step="Upload the compiled file: client.upload_pipeline_version(…).",
            )
        pipeline = find_by_id(platform.stores, pipeline_id)
        title = Title(body.display_name or body.name, body.description or "")
        data = spec_bytes(body.pipeline_spec)
        with _alone(platform):
            made = _publish_version(platform, pipeline, data, title, who)
        return made.to_json(platform.stores)

    @router.get(f"{base}/{{version_id}}")
    def get(platform: PlatformOf, who: Reader, pipeline_id: str, version_id: str) -> dict[str, Any]:
        found = find_version(platform.stores, pipeline_id, version_id)
        return found.to_json(platform.stores)

    @router.delete(f"{base}/{{version_id}}")
    def delete(
        platform: PlatformOf, who: Publisher, pipeline_id: str, version_id: str
    ) -> dict[str, Any]:
        """With the tags that point at it: a client of this API knows them as its name only."""
        found = find_version(platform.stores, pipeline_id, version_id)
        with _alone(platform):
            delete_version(
                platform.stores,
                found.package,
                found.digest,
                by=who.name,
                who=who,
                releases_of=releases_of,
                with_tags=True,
            )
        return {}


def _alone(platform: Platform) -> AbstractContextManager[None]:
    """A name is looked for in one transaction, and given in another."""
    return one_at_a_time(platform.root, "pipeline-names")


def _publish_first(platform: Platform, data: bytes, title: Title, who: Principal) -> Pipeline:
    """Conflict when a pipeline of that name holds something else."""
    stores = platform.stores
    name = title.title or package_of_ir(data)
    package = package_of_title(name)
    digest = str(digest_of(data))
    known = next((one for one in list_pipelines(stores) if one.package == package), None)
    if known is not None:
        if digest not in {one.digest for one in versions_of(stores, package)}:
            raise Conflict(
                f"There is a pipeline {known.display_name!r} already, with another file.",
                next_step="Upload a version of it: client.upload_pipeline_version(…).",
            )
        return known
    published = publish_pipeline(
        stores, data, by=who.name, who=who, name=package, releases_of=releases_of
    )
    titled = Title(name, title.description)
    for named in ("", published.digest):
        give_title(
            stores, published.package, named, titled, by=who.name, repository=DEFAULT_REPOSITORY
        )
    return find_by_id(stores, pipeline_id(published.package))


def _publish_version(
    platform: Platform, pipeline: Pipeline, data: bytes, title: Title, who: Principal
) -> Version:
    """The name becomes the version's tag, too, where a tag can be called so."""
    stores, digest = platform.stores, str(digest_of(data))
    known = versions_of(stores, pipeline.package)
    name = title.title or short(digest)
    for one in known:
        if one.digest != digest and name in (one.display_name, *one.tags):
            raise Conflict(
                f"The pipeline {pipeline.display_name!r} has a version {name!r} already, "
                "with another file.",
                next_step="Choose another name for this one.",
            )
    tags = [name] if title.title and is_tag(name) else []
    publish_pipeline(
        stores,
        data,
        tags,
        by=who.name,
        who=who,
        name=pipeline.package,
        releases_of=releases_of,
    )
    titled = Title(name, title.description)
    give_title(stores, pipeline.package, digest, titled, by=who.name, repository=DEFAULT_REPOSITORY)
    return next(one for one in versions_of(stores, pipeline.package) if one.digest == digest)


def _bytes_of(uploaded: UploadFile | None) -> bytes:
    if uploaded is None:
        raise InvalidInput(
            "The upload has no file.", next_step="Send it as the multipart field 'uploadfile'."
        )
    data = uploaded.file.read()
    if data[:4] in (b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\x1f\x8b\x08\x08"):
        raise InvalidInput(
            f"{uploaded.filename} is an archive.",
            next_step="Upload the compiled YAML that is in it.",
        )
    return data


def _value(item: Pipeline | Version, column: str) -> str:
    return str(getattr(item, column))
