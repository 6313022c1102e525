"""Thin wheels under `/pypi/{environment}/thin/simple/`, and the payloads that they fetch.

The same index as the regular one, but for the models: theirs are thin here. Any other name leads
to the regular page, so one address is enough for a model and all that it needs.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse
from packaging.utils import canonicalize_name

from seamline.app.register.installs import check_installed, find_installs
from seamline.domain.digests import parse_digest
from seamline.domain.errors import not_found
from seamline.protocols.identity import caller_who_may
from seamline.protocols.pypi_files import file_response, page_response
from seamline.protocols.pypi_pages import Page, render_files, render_names, wants_json
from seamline.register.models.loader_wheel import LOADER, publish_loader
from seamline.register.models.thin_wheels import (
    find_payload,
    find_thin_wheel,
    is_model,
    list_thin_wheels,
)
from seamline.register.packages import index
from seamline.register.packages.yanks import yanks_of
from seamline.store.stores import Stores
from seamline.trust.roles import Verb

_METADATA = ".metadata"


def add_thin_routes(router: APIRouter) -> None:
    """`router`: the package indexes' own, whose rules hold here too."""
    for path, endpoint in (("/thin/simple/", _show_names), ("/thin/simple/{name}/", _show_files)):
        router.add_api_route(path, endpoint, methods=["GET"])
        router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    router.add_api_route(
        "/thin/files/{digest}/{filename}",
        _download,
        methods=["GET", "HEAD"],
        include_in_schema=False,
    )
    router.add_api_route("/payloads/{digest}", _send_payload, methods=["GET"])
    router.add_api_route(
        "/payloads/{digest}", _send_payload, methods=["HEAD"], include_in_schema=False
    )


def _reading(request: Request) -> Stores:
    caller_who_may(request, Verb.READ)
    stores: Stores = request.app.state.platform.stores
    return stores


Reading = Annotated[Stores, Depends(_reading)]
Accept = Annotated[str, Header()]


def _show_names(
    request: Request, stores: Reading, environment: str, accept: Accept = ""
) -> Response:
    publish_loader(stores, environment)
    as_json = wants_json(accept)

    def render() -> Page:
        names = index.list_package_names(stores, environment)
        return render_names(f"thin {environment}", names, as_json=as_json)

    state = index.index_state(stores, environment)
    key = ("thin", environment, as_json)
    return page_response(request, request.state.pages.page(key, state, render))


def _show_files(
    request: Request, stores: Reading, environment: str, name: str, accept: Accept = ""
) -> Response:
    """A model's thin wheels; for any other name, the way to the regular page."""
    wanted = canonicalize_name(name)
    if wanted == LOADER:
        publish_loader(stores, environment)
    if not is_model(stores, wanted):
        return RedirectResponse(f"../../../simple/{wanted}/", 307)
    as_json = wants_json(accept)
    installs = find_installs(stores, environment)

    def render() -> Page:
        files = list_thin_wheels(stores, environment, wanted)
        fat = index.list_package_files(stores, environment, wanted)
        yanks = installs.passed_over(fat) | yanks_of(stores, wanted)
        return render_files(wanted, files, yanks, as_json=as_json)

    # Thin wheels come and go with the fat ones.
    state = index.index_state(stores, environment, wanted)
    if state[0] == 0:
        raise not_found(f"model in {environment}'s index", wanted)
    state = (*state, installs.state)
    key = ("thin", environment, wanted, as_json)
    return page_response(request, request.state.pages.page(key, state, render))


def _download(
    request: Request, stores: Reading, environment: str, digest: str, filename: str
) -> Response:
    """A thin wheel, or with `.metadata` behind its name, its METADATA (PEP 658)."""
    wheel = filename.removesuffix(_METADATA)
    file = find_thin_wheel(stores, environment, wheel)
    if file.digest != f"sha256:{digest}":
        raise not_found(f"thin {wheel} with the digest", digest, [file.digest])
    if wheel != filename:
        return PlainTextResponse(index.read_package_metadata(stores, file))
    check_installed(stores, index.find_package_file(stores, environment, wheel))
    return file_response(
        request,
        file.size_bytes,
        f'"{file.digest}"',
        lambda: index.open_package_file(stores, file),
    )


def _send_payload(request: Request, stores: Reading, environment: str, digest: str) -> Response:
    """A model's bytes by their sha256, whole or in ranges.

    `digest`: 64 hexadecimal digits, with `sha256:` before them or without.
    """
    wanted = parse_digest(f"sha256:{digest.removeprefix('sha256:')}")
    size_bytes = find_payload(stores, environment, wanted)
    what = f"payload of a model in {environment}"
    return file_response(
        request, size_bytes, f'"{wanted}"', lambda: stores.blobs.open_verified(wanted, what)
    )
