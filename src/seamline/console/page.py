"""One way to answer: `data` as a page or as JSON, with the headers that keep a page to itself."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined

from seamline.app.promote.gate_guide import find_guide
from seamline.app.promote.gate_layout import lay_out_picture
from seamline.console.alarms import read_alarms
from seamline.console.endpoint_pictures import draw_hour
from seamline.console.graph import Sizes, lay_out
from seamline.console.session import Sessions, Who
from seamline.console.words import filters
from seamline.domain.digests import digest_of, short
from seamline.domain.errors import InvalidInput, SeamlineError, Unauthenticated
from seamline.evaluate.pictures import draw_interval, draw_reliability, draw_windows
from seamline.evaluate.scale import scale_of
from seamline.protocols.errors import STATUS, error_body

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: under that a browser sends our own forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept, Cookie",
}
ASSETS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Pages:
    """The templates and the assets, read once; and the two ways to answer."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        folder = files("seamline.console") / "static"
        self._assets = {name: (folder / name).read_bytes() for name in ASSETS}
        self._templates = Environment(
            loader=PackageLoader("seamline.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(filters())
        self._templates.globals.update(
            lay_out=lay_out,
            sizes=Sizes,
            scale_of=scale_of,
            picture_of=lay_out_picture,
            guide_of=find_guide,
            draw_interval=draw_interval,
            draw_reliability=draw_reliability,
            draw_windows=draw_windows,
            draw_hour=draw_hour,
            asset=self._asset_url,
        )

    def page(
        self,
        request: Request,
        template: str,
        data: Mapping[str, Any],
        who: Who,
        status: int = 200,
    ) -> Response:
        """The template sees `data`, `who` and what is wrong everywhere, and nothing else."""
        alarms = read_alarms(request.app.state.platform) if who.name else []
        if wants_json(request):
            return JSONResponse({**data, "alarms": alarms}, status, HEADERS)
        text = self._templates.get_template(template).render(data=data, who=who, alarms=alarms)
        return HTMLResponse(text, status, HEADERS)

    def refusal(self, request: Request, error: SeamlineError) -> Response:
        """What went wrong as a page; whom we do not know is asked to sign in."""
        status = STATUS.get(type(error), 500)
        if wants_json(request):
            return JSONResponse(error_body(error), status, HEADERS)
        if isinstance(error, Unauthenticated) and request.method == "GET":
            here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/sign-in?next={quote(here, safe='')}", 303, HEADERS)
        try:
            _, who = self.sessions.known(request)
        except Unauthenticated:
            who = self.sessions.visitor(request)
        return self.page(request, "refusal.html", error_body(error), who, status)

    def asset(self, name: str) -> Response:
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(self._assets[name], headers=headers, media_type=ASSETS[name])

    def _asset_url(self, name: str) -> str:
        return f"/console/{name}?v={short(digest_of(self._assets[name]))}"


def wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    asked = "application/json" in accepted and "text/html" not in accepted
    return asked or request.query_params.get("format") == "json"


def page_route(pages: Pages) -> type[APIRoute]:
    """A route class that shows errors as pages."""

    class PageRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return await handle(request)
                except SeamlineError as error:
                    return pages.refusal(request, error)
                except RequestValidationError as error:
                    said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
                    return pages.refusal(request, InvalidInput(said))

            return guarded

    return PageRoute
