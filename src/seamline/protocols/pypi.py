"""Package indexes for pip, uv and twine: one per environment.

The simple API as HTML (PEP 503) and JSON (PEP 691, 700), metadata files (PEP 658), and the legacy
upload that twine and `uv publish` speak. Names never published here lead upstream; names that
ever were never do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Header, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from packaging.utils import canonicalize_name

from seamline.domain.errors import InvalidInput, Refused, not_found
from seamline.domain.states import Role
from seamline.promote.environments import list_environments
from seamline.protocols.identity import caller_who_may
from seamline.protocols.uploads import limited_route
from seamline.protocols.upstream import UpstreamIndex
from seamline.register import packages
from seamline.register.packages import PackageFile
from seamline.store.stores import Stores
from seamline.trust.roles import Verb

ENVIRONMENTS = ("dataops", "development", "staging", "production")
MAX_UPLOAD_BYTES = 1 << 30
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HTML_TYPE = "application/vnd.pypi.simple.v1+html"
_API_VERSION = "1.1"
_METADATA = ".metadata"


@dataclass(frozen=True)
class Visit:
    """One request: who asks, of which environment's index."""

    stores: Stores
    environment: str
    by: str
    is_admin: bool
    upstream: UpstreamIndex


def make_router(
    environments: Sequence[str] = ENVIRONMENTS, max_upload_bytes: int = MAX_UPLOAD_BYTES
) -> APIRouter:
    """Endpoints are plain `def`: they read disks, so they run in the thread pool.

    The application's state holds `upstream`, the UpstreamIndex.
    """
    check = Depends(_known(environments))
    router = APIRouter(
        prefix="/pypi/{environment}",
        tags=["packages"],
        route_class=limited_route(max_upload_bytes),
        dependencies=[check],
    )
    router.add_api_route("/simple/", _show_names, methods=["GET"])
    router.add_api_route("/simple/{name}/", _show_files, methods=["GET"])
    router.add_api_route(
        "/files/{digest}/{filename}", _download, methods=["GET", "HEAD"], include_in_schema=False
    )
    router.add_api_route("/upload/", _upload, methods=["POST"])
    return router


def _known(environments: Sequence[str]) -> Any:
    """The workspace's environments; `environments` where no policy says which there are."""

    def check_environment(request: Request, environment: str) -> None:
        with request.app.state.platform.stores.db.read() as connection:
            named = [one.name for one in list_environments(connection)] or environments
        if environment not in named:
            raise not_found("environment", environment, named)

    return check_environment


def _visit(request: Request, environment: str, verb: Verb) -> Visit:
    who = caller_who_may(request, verb)
    state = request.app.state
    is_admin = Role.ADMIN in who.roles
    return Visit(state.platform.stores, environment, who.name, is_admin, state.upstream)


def _reading(request: Request, environment: str) -> Visit:
    return _visit(request, environment, Verb.READ)


def _publishing(request: Request, environment: str) -> Visit:
    return _visit(request, environment, Verb.PUBLISH)


Reading = Annotated[Visit, Depends(_reading)]
Publishing = Annotated[Visit, Depends(_publishing)]
Accept = Annotated[str, Header()]


def _show_names(visit: Reading, accept: Accept = "") -> Response:
    names = packages.list_package_names(visit.stores, visit.environment)
    if wants_json(accept):
        projects = [{"name": name} for name in names]
        return _json({"projects": projects})
    links = [f'<a href="{escape(name)}/">{escape(name)}</a>' for name in names]
    return _html(f"{visit.environment} packages", links)


def _show_files(visit: Reading, name: str, accept: Accept = "") -> Response:
    """This environment's files; a redirect upstream for a name that was never published here."""
    wanted = canonicalize_name(name)
    files = packages.list_package_files(visit.stores, visit.environment, wanted)
    if not files:
        return _elsewhere(visit, wanted)
    if wants_json(accept):
        versions = list(dict.fromkeys(file.version for file in files))
        listed = [_describe(file) for file in files]
        return _json({"name": wanted, "versions": versions, "files": listed})
    return _html(f"Links for {wanted}", [_link(file) for file in files])


def _elsewhere(visit: Visit, name: str) -> Response:
    if packages.is_ours(visit.stores, name):
        raise not_found(
            f"package in {visit.environment}'s index",
            name,
            packages.list_package_names(visit.stores, visit.environment),
        )
    url = visit.upstream.url_of(name)
    if url is None:
        raise not_found("package, and no upstream index,", name)
    return RedirectResponse(url, 307)


def _download(visit: Reading, digest: str, filename: str) -> Response:
    """The bytes, verified; `filename.metadata` is the wheel's METADATA (PEP 658)."""
    wheel = filename.removesuffix(_METADATA)
    file = packages.find_package_file(visit.stores, visit.environment, wheel)
    if file.digest != f"sha256:{digest}":
        raise not_found(f"{wheel} with the digest", digest, [file.digest])
    if wheel != filename:
        return PlainTextResponse(packages.read_package_metadata(visit.stores, file))
    return Response(
        packages.read_package_file(visit.stores, file),
        media_type="application/octet-stream",
        headers={"Cache-Control": "private, max-age=31536000, immutable"},
    )


def _upload(
    visit: Publishing,
    action: Annotated[str, Form(alias=":action")] = "",
    content: Annotated[UploadFile | None, File()] = None,
    sha256_digest: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    version: Annotated[str, Form()] = "",
) -> PlainTextResponse:
    """The legacy upload of one wheel."""
    if visit.environment != packages.PUBLISHING:
        raise Refused(
            f"Packages are published into {packages.PUBLISHING} only; "
            f"{visit.environment} gets them by promotion.",
            next_step=f"Upload to /pypi/{packages.PUBLISHING}/upload/.",
        )
    if action != "file_upload":
        raise InvalidInput(f"The upload's :action is {action!r}, wanted 'file_upload'.")
    if content is None or not content.filename:
        raise InvalidInput("The upload has no file in its field 'content'.")
    data = content.file.read()
    actual = hashlib.sha256(data).hexdigest()
    if sha256_digest and sha256_digest.lower() != actual:
        raise InvalidInput(
            f"{content.filename} arrived as sha256 {actual}, announced as {sha256_digest}.",
            next_step="Send it again.",
        )
    file = packages.publish_package(
        visit.stores,
        content.filename,
        data,
        announced=(name, version),
        by=visit.by,
        is_admin=visit.is_admin,
    )
    return PlainTextResponse(f"{file.name} {file.version} is {file.digest}\n")


def wants_json(accept: str) -> bool:
    """Does the Accept header prefer JSON? HTML wins a draw, as for browsers and old clients.

    >>> wants_json("application/vnd.pypi.simple.v1+json, text/html; q=0.01")
    True
    >>> wants_json("text/html"), wants_json("*/*"), wants_json("")
    (False, False, False)
    """
    weights = {"json": 0.0, "html": 0.0}
    for part in accept.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = _weight(parameter[2:])
        if kind in (JSON_TYPE, "application/vnd.pypi.simple.latest+json"):
            weights["json"] = max(weights["json"], weight)
        elif kind in (HTML_TYPE, "application/vnd.pypi.simple.latest+html", "text/html", "*/*"):
            weights["html"] = max(weights["html"], weight)
    return weights["json"] > weights["html"]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _address(file: PackageFile) -> str:
    """Relative to /pypi/{environment}/simple/{name}/."""
    return f"../../files/{file.digest.removeprefix('sha256:')}/{file.filename}"


def _hash(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _describe(file: PackageFile) -> dict[str, Any]:
    described: dict[str, Any] = {
        "filename": file.filename,
        "url": _address(file),
        "hashes": _hash(file.digest),
        "size": file.size_bytes,
        "upload-time": file.uploaded_at,
        "core-metadata": _hash(file.metadata_digest),
        "dist-info-metadata": _hash(file.metadata_digest),
    }
    if file.requires_python is not None:
        described["requires-python"] = file.requires_python
    return described


def _link(file: PackageFile) -> str:
    metadata = f"sha256={file.metadata_digest.removeprefix('sha256:')}"
    attributes = {
        "href": f"{_address(file)}#sha256={file.digest.removeprefix('sha256:')}",
        "data-core-metadata": metadata,
        "data-dist-info-metadata": metadata,
    }
    if file.requires_python is not None:
        attributes["data-requires-python"] = file.requires_python
    spelt = " ".join(f'{key}="{escape(value)}"' for key, value in attributes.items())
    return f"<a {spelt}>{escape(file.filename)}</a>"


def _json(body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(
        {"meta": {"api-version": _API_VERSION}, **body},
        media_type=JSON_TYPE,
        headers={"Vary": "Accept"},
    )


def _html(title: str, links: list[str]) -> HTMLResponse:
    lines = "".join(f"    {link}<br>\n" for link in links)
    return HTMLResponse(
        "<!DOCTYPE html>\n<html>\n  <head>\n"
        f'    <meta name="pypi:repository-version" content="{_API_VERSION}">\n'
        f"    <title>{escape(title)}</title>\n  </head>\n  <body>\n{lines}  </body>\n</html>\n",
        headers={"Vary": "Accept"},
    )
