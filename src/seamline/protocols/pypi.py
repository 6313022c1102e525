"""Package indexes for pip, uv and twine: one per environment.

The simple API as HTML (PEP 503) and JSON (PEP 691, 700), metadata files (PEP 658), and the legacy
upload that twine and `uv publish` speak. Names never published here lead upstream; names that
ever were, or that a project declares a model by, never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from packaging.utils import InvalidName, canonicalize_name
from starlette.concurrency import run_in_threadpool

from seamline.app.register.installs import check_installed, find_installs
from seamline.domain.errors import InvalidInput, NotFound, Refused, not_found
from seamline.project.plan import project_declaring
from seamline.promote.environments import list_environments
from seamline.protocols.identity import caller_who_may
from seamline.protocols.pypi_files import file_response, page_response
from seamline.protocols.pypi_pages import (
    Page,
    PageCache,
    render_files,
    render_names,
    wants_json,
)
from seamline.protocols.pypi_thin import add_thin_routes
from seamline.protocols.pypi_upload import Upload, received_upload
from seamline.protocols.uploads import limited_route
from seamline.protocols.upstream import UpstreamIndex
from seamline.register.packages import index
from seamline.register.packages.yanks import yanks_of
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Verb

ENVIRONMENTS = ("dataops", "development", "staging", "production")
MAX_UPLOAD_BYTES = 8 << 30
_METADATA = ".metadata"
#: What the upload takes, which its endpoint reads by itself.
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [":action", "content"],
                    "properties": {
                        ":action": {"type": "string", "const": "file_upload"},
                        "content": {"type": "string", "contentMediaType": "application/zip"},
                        "sha256_digest": {"type": "string"},
                        "name": {"type": "string"},
                        "version": {"type": "string"},
                    },
                }
            }
        },
    }
}


@dataclass(frozen=True)
class Visit:
    """One request: who asks, of which environment's index."""

    stores: Stores
    environment: str
    who: Principal
    upstream: UpstreamIndex
    pages: PageCache


def make_router(
    environments: Sequence[str] = ENVIRONMENTS, max_upload_bytes: int = MAX_UPLOAD_BYTES
) -> APIRouter:
    """Endpoints are plain `def`: they read disks, so they run in the thread pool.

    The application's state holds `upstream`, the UpstreamIndex.
    """
    check = Depends(_known(environments, PageCache()))
    router = APIRouter(
        prefix="/pypi/{environment}",
        tags=["packages"],
        route_class=limited_route(max_upload_bytes),
        dependencies=[check],
    )
    for path, endpoint in (("/simple/", _show_names), ("/simple/{name}/", _show_files)):
        router.add_api_route(path, endpoint, methods=["GET"])
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    router.add_api_route(
        "/files/{digest}/{filename}", _download, methods=["GET", "HEAD"], include_in_schema=False
    )
    router.add_api_route("/upload/", _upload, methods=["POST"], openapi_extra=_FORM)
    add_thin_routes(router)
    return router


def _known(environments: Sequence[str], pages: PageCache) -> Callable[[Request, str], None]:
    """The workspace's environments; `environments` where no policy says which there are."""

    def check_environment(request: Request, environment: str) -> None:
        with request.app.state.platform.stores.db.read() as connection:
            named = [one.name for one in list_environments(connection)] or environments
        if environment not in named:
            raise not_found("environment", environment, named)
        request.state.pages = pages

    return check_environment


def _visit(request: Request, environment: str, verb: Verb) -> Visit:
    who = caller_who_may(request, verb)
    state = request.app.state
    return Visit(state.platform.stores, environment, who, state.upstream, request.state.pages)


def _reading(request: Request, environment: str) -> Visit:
    """Called by endpoints that read: a dependency of its own would be one more way through the
    thread pool, which takes as long as all that they do."""
    return _visit(request, environment, Verb.READ)


def _publishing(request: Request, environment: str) -> Visit:
    return _visit(request, environment, Verb.PUBLISH)


Publishing = Annotated[Visit, Depends(_publishing)]
Accept = Annotated[str, Header()]


def _show_names(request: Request, environment: str, accept: Accept = "") -> Response:
    visit = _reading(request, environment)
    as_json = wants_json(accept)

    def render() -> Page:
        names = index.list_package_names(visit.stores, visit.environment)
        return render_names(visit.environment, names, as_json=as_json)

    state = index.index_state(visit.stores, visit.environment)
    return page_response(request, visit.pages.page((visit.environment, as_json), state, render))


def _show_files(request: Request, environment: str, name: str, accept: Accept = "") -> Response:
    """This environment's files; a redirect upstream for a name that was never published here."""
    visit = _reading(request, environment)
    try:
        wanted = canonicalize_name(name, validate=True)
    except InvalidName:
        raise not_found("package", name[:200]) from None
    as_json = wants_json(accept)
    installs = find_installs(visit.stores, visit.environment)

    def render() -> Page:
        files = index.list_package_files(visit.stores, visit.environment, wanted)
        yanks = installs.passed_over(files) | yanks_of(visit.stores, wanted)
        return render_files(wanted, files, yanks, as_json=as_json)

    state = index.index_state(visit.stores, visit.environment, wanted)
    if state[0] == 0:
        return _elsewhere(visit, wanted)
    state = (*state, installs.state)
    return page_response(
        request, visit.pages.page((visit.environment, wanted, as_json), state, render)
    )


def _elsewhere(visit: Visit, name: str) -> Response:
    if index.is_ours(visit.stores, name):
        raise not_found(
            f"package in {visit.environment}'s index",
            name,
            index.list_package_names(visit.stores, visit.environment),
        )
    with visit.stores.db.read() as connection:
        project = project_declaring(connection, name)
    if project is not None:  # and never upstream: somebody could have put it there
        raise NotFound(
            f"{name} is a model of the project {project}, and has no version yet.",
            next_step="Its first version comes from a run of its training pipeline.",
        )
    url = visit.upstream.url_of(name)
    if url is None:
        raise not_found("package, and no upstream index,", name)
    return RedirectResponse(url, 307)


def _download(request: Request, environment: str, digest: str, filename: str) -> Response:
    """The bytes, verified, of what may be installed there; `filename.metadata` is the wheel's
    METADATA (PEP 658)."""
    visit = _reading(request, environment)
    wheel = filename.removesuffix(_METADATA)
    file = index.find_package_file(visit.stores, visit.environment, wheel)
    if file.digest != f"sha256:{digest}":
        raise not_found(f"{wheel} with the digest", digest, [file.digest])
    if wheel != filename:
        return PlainTextResponse(index.read_package_metadata(visit.stores, file))
    check_installed(visit.stores, file)
    open_file = partial(index.open_package_file, visit.stores, file)
    return file_response(request, file.size_bytes, f'"{file.digest}"', open_file)


async def _upload(request: Request, visit: Publishing) -> PlainTextResponse:
    """The legacy upload of one wheel."""
    if visit.environment != index.PUBLISHING:
        raise Refused(
            f"Packages are published into {index.PUBLISHING} only; "
            f"{visit.environment} gets them by promotion.",
            next_step=f"Upload to /pypi/{index.PUBLISHING}/upload/.",
        )
    async with received_upload(request, visit.stores.root / "incoming") as upload:
        file = await run_in_threadpool(_publish, visit, upload)
    return PlainTextResponse(f"{file.name} {file.version} is {file.digest}\n")


def _publish(visit: Visit, upload: Upload) -> index.PackageFile:
    action, announced = upload.fields.get(":action", ""), upload.fields.get("sha256_digest", "")
    if action != "file_upload":
        raise InvalidInput(f"The upload's :action is {action!r}, wanted 'file_upload'.")
    actual = upload.file.digest.removeprefix("sha256:")
    if announced and announced.lower() != actual:
        raise InvalidInput(
            f"{upload.filename} arrived as sha256 {actual}, announced as {announced}.",
            next_step="Send it again.",
        )
    return index.publish_package(
        visit.stores,
        upload.filename,
        upload.file,
        announced=(upload.fields.get("name", ""), upload.fields.get("version", "")),
        by=visit.who.name,
        who=visit.who,
        declared_by=project_declaring,
    )
