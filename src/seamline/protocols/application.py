"""The control plane's ASGI application: every adapter under its path, one set of rules before."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from seamline import __version__
from seamline.app.figures import PlatformFigures
from seamline.app.platform import Platform
from seamline.app.register.model_outcomes import Packagings
from seamline.app.serve.far.giving import SignedFilePolls
from seamline.app.train.run_news import RunNews
from seamline.domain.errors import Forbidden
from seamline.protocols import kfp_registry, prometheus, pypi
from seamline.protocols.errors import STATUS, error_body, install_error_handler
from seamline.protocols.kfp_api.routes import add_kfp_api
from seamline.protocols.native import make_router
from seamline.protocols.upstream import UpstreamIndex
from seamline.trust.requests import LOOPBACK_NAMES, check_request_site

API = "/api/v1"


def make_application(
    platform: Platform, host: str = "127.0.0.1", more: Sequence[APIRouter] = ()
) -> FastAPI:
    app = FastAPI(
        title="Seamline",
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.platform = platform
    app.state.figures = PlatformFigures(platform)
    app.state.upstream = UpstreamIndex()
    app.state.signed_file_polls = SignedFilePolls()
    app.state.run_news = RunNews(platform.stores, platform.changes)
    app.state.packagings = Packagings(platform.stores, platform.changes)
    install_error_handler(app)
    app.add_middleware(_SiteCheck, names=LOOPBACK_NAMES | {host})
    app.include_router(make_router(), prefix=API)
    add_kfp_api(app)
    for router in (kfp_registry.make_router(), pypi.make_router(), prometheus.make_router(), *more):
        app.include_router(router)
    return app


class _SiteCheck:
    """Around everything, and so without the framework's class for it, which would carry each piece
    of an answer from one task to another."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            try:
                check_request_site(
                    scope["method"],
                    headers.get("host", ""),
                    headers.get("origin"),
                    headers.get("sec-fetch-site"),
                    self._names,
                )
            except Forbidden as error:
                refusal = JSONResponse(error_body(error), STATUS[Forbidden])
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
