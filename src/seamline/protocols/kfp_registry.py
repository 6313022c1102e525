"""The Kubeflow Pipelines registry protocol, as `kfp.registry.RegistryClient` speaks it.

Paths are those of the client's `default_pkg_dev.json`, below
`/kfp/registry/{project}/{repository}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse

from seamline.app.register.environment_pipelines import find_tag, read_pipeline
from seamline.app.register.pipeline_users import releases_of
from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput
from seamline.protocols.identity import caller_who_may
from seamline.protocols.uploads import limited_route
from seamline.register.pipelines import catalogue, publishing
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Verb

MAX_UPLOAD_BYTES = 8 << 20
PREFIX = "/kfp/registry/{project}/{repository}"


@dataclass(frozen=True)
class Visit:
    """One request: who asks, of which repository."""

    stores: Stores
    repository: str
    who: Principal


def _visit(request: Request, project: str, repository: str, verb: Verb) -> Visit:
    principal = caller_who_may(request, verb)
    return Visit(request.app.state.platform.stores, f"{project}/{repository}", principal)


def _reading(request: Request, project: str, repository: str) -> Visit:
    return _visit(request, project, repository, Verb.READ)


def _publishing(request: Request, project: str, repository: str) -> Visit:
    return _visit(request, project, repository, Verb.PUBLISH)


Reading = Annotated[Visit, Depends(_reading)]
Publishing = Annotated[Visit, Depends(_publishing)]


def make_router(max_upload_bytes: int = MAX_UPLOAD_BYTES) -> APIRouter:
    """All endpoints are plain `def`: they read disks, so they run in the thread pool."""
    route_class = limited_route(max_upload_bytes)
    router = APIRouter(prefix=PREFIX, tags=["kfp registry"], route_class=route_class)
    router.add_api_route("", _upload, methods=["POST"])
    _add_package_routes(router)
    _add_version_routes(router)
    _add_tag_routes(router)
    # After the routes below /packages, which it would match too.
    router.add_api_route("/{package}/{reference}", _download, methods=["GET"])
    return router


def _upload(
    visit: Publishing,
    content: Annotated[UploadFile | None, File()] = None,
    tags: Annotated[str, Form()] = "",
) -> PlainTextResponse:
    if content is None:
        raise InvalidInput(
            "The upload has no file.", next_step="Send it as the multipart field 'content'."
        )
    version = publishing.publish_pipeline(
        visit.stores,
        content.file.read(),
        [tag.strip() for tag in tags.split(",") if tag.strip()],
        by=visit.who.name,
        who=visit.who,
        repository=visit.repository,
        releases_of=releases_of,
    )
    return PlainTextResponse(f"{version.package}/{version.digest}")


def _download(visit: Reading, package: str, reference: str) -> Response:
    data = read_pipeline(visit.stores, package, reference, repository=visit.repository)
    return Response(data, media_type="application/yaml")


def _add_package_routes(router: APIRouter) -> None:
    @router.get("/packages")
    def list_packages(visit: Reading) -> dict[str, Any]:
        found = catalogue.list_packages(visit.stores, repository=visit.repository)
        return {"packages": [_package(package) for package in found]}

    @router.get("/packages/{package}")
    def get_package(visit: Reading, package: str) -> dict[str, Any]:
        return _package(catalogue.find_package(visit.stores, package, repository=visit.repository))

    @router.delete("/packages/{package}")
    def delete_package(visit: Publishing, package: str) -> dict[str, Any]:
        publishing.delete_package(
            visit.stores,
            package,
            by=visit.who.name,
            who=visit.who,
            releases_of=releases_of,
            repository=visit.repository,
        )
        return {"done": True}


def _add_version_routes(router: APIRouter) -> None:
    @router.get("/packages/{package}/versions")
    def list_versions(visit: Reading, package: str) -> dict[str, Any]:
        found = catalogue.list_versions(visit.stores, package, repository=visit.repository)
        return {"versions": [_version(version) for version in found]}

    @router.get("/packages/{package}/versions/{version}")
    def get_version(visit: Reading, package: str, version: str) -> dict[str, Any]:
        digest = parse_digest(version)
        return _version(
            catalogue.find_pipeline(visit.stores, package, digest, repository=visit.repository)
        )

    @router.delete("/packages/{package}/versions/{version}")
    def delete_version(visit: Publishing, package: str, version: str) -> dict[str, Any]:
        publishing.delete_version(
            visit.stores,
            package,
            version,
            by=visit.who.name,
            who=visit.who,
            releases_of=releases_of,
            repository=visit.repository,
        )
        return {"done": True}


def _add_tag_routes(router: APIRouter) -> None:
    @router.get("/packages/{package}/tags")
    def list_tags(visit: Reading, package: str) -> dict[str, Any]:
        found = catalogue.list_tags(visit.stores, package, repository=visit.repository)
        return {"tags": [_tag(tag) for tag in found]}

    @router.get("/packages/{package}/tags/{tag}")
    def get_tag(visit: Reading, package: str, tag: str) -> dict[str, Any]:
        return _tag(find_tag(visit.stores, package, tag, repository=visit.repository))

    @router.delete("/packages/{package}/tags/{tag}")
    def delete_tag(visit: Publishing, package: str, tag: str) -> dict[str, Any]:
        publishing.delete_tag(
            visit.stores,
            package,
            tag,
            by=visit.who.name,
            who=visit.who,
            repository=visit.repository,
        )
        return {}

    @router.post("/packages/{package}/tags")
    def create_tag(
        visit: Publishing,
        package: str,
        tag: Annotated[str, Query(alias="tagId")],
        body: dict[str, Any],
    ) -> dict[str, Any]:
        return _set_tag(visit, package, tag, body, create_only=True)

    @router.patch("/packages/{package}/tags/{tag}")
    def update_tag(
        visit: Publishing, package: str, tag: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        return _set_tag(visit, package, tag, body, create_only=False)


def _set_tag(
    visit: Visit, package: str, tag: str, body: dict[str, Any], *, create_only: bool
) -> dict[str, Any]:
    """The body names its target as packages/{package}/versions/{digest}."""
    digest = str(body.get("version", "")).rpartition("/versions/")[2]
    moved = publishing.tag_pipeline(
        visit.stores,
        package,
        digest,
        tag,
        by=visit.who.name,
        who=visit.who,
        repository=visit.repository,
        create_only=create_only,
        releases_of=releases_of,
    )
    return _tag(moved)


def _package(package: catalogue.PipelinePackage) -> dict[str, Any]:
    return {
        "name": f"packages/{package.package}",
        "displayName": package.package,
        "createTime": package.created_at,
        "updateTime": package.updated_at,
    }


def _version(version: catalogue.PipelineVersionRow) -> dict[str, Any]:
    return {
        "name": f"packages/{version.package}/versions/{version.digest}",
        "createTime": version.published_at,
        "updateTime": version.published_at,
        "metadata": {"publishedBy": version.published_by, "sizeBytes": version.size_bytes},
    }


def _tag(tag: catalogue.PipelineTag) -> dict[str, Any]:
    return {
        "name": f"packages/{tag.package}/tags/{tag.tag}",
        "version": f"packages/{tag.package}/versions/{tag.digest}",
        "createTime": tag.created_at,
        "updateTime": tag.updated_at,
    }
