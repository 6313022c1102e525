"""Routes that take bodies: asked who sends before any byte is read, limited (413), JSON errors."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Message

from seamline.domain.errors import SeamlineError
from seamline.protocols.errors import sentence_of
from seamline.protocols.identity import check_sender
from seamline.trust.requests import SAFE_METHODS
from seamline.trust.roles import Verb

SKIP_S = 30.0


def limited_route(limit_bytes: int, verb: Verb = Verb.PUBLISH) -> type[APIRoute]:
    """A route class: may this caller do that, is the stated length right, then byte by byte.

    FastAPI reads a form before it asks the endpoint's dependencies; strangers would fill the disk.
    """

    class LimitedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                if request.method not in SAFE_METHODS:
                    await run_in_threadpool(check_sender, request, verb)
                declared = request.headers.get("content-length", "")
                if declared.isdecimal() and int(declared) > limit_bytes:
                    return _too_large(limit_bytes)
                body = _CountedBody(request, limit_bytes)
                try:
                    return await handle(Request(request.scope, body.receive))
                except HTTPException as error:
                    if body.is_over:
                        return _too_large(limit_bytes)
                    return _refusal(error.status_code, "invalid_input", str(error.detail))
                except RequestValidationError as error:
                    return _refusal(400, "invalid_input", sentence_of(error))
                except (OSError, SeamlineError):
                    await body.skip_rest()
                    raise

            return guarded

    return LimitedRoute


class _CountedBody:
    def __init__(self, request: Request, limit_bytes: int) -> None:
        self._request = request
        self._left = limit_bytes
        self._is_whole = False
        self.is_over = False

    async def receive(self) -> Message:
        message = await self._request.receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.is_over = True
            raise HTTPException(413)
        self._is_whole = not message.get("more_body", False)
        return message

    async def skip_rest(self) -> None:
        """Who is still sending when it is refused would lose the answer: a connection that is
        closed under them breaks before they read it. No more than the limit, and not for ever."""
        with suppress(HTTPException, TimeoutError):
            async with asyncio.timeout(SKIP_S):
                while not self._is_whole:
                    await self.receive()


def _too_large(limit_bytes: int) -> JSONResponse:
    return _refusal(413, "too_large", f"Uploads here are limited to {limit_bytes:,} bytes.")


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    body = {"error": {"code": code, "message": message, "next_step": ""}}
    # The rest of the body is not read, so the connection cannot be used again.
    return JSONResponse(body, status, {"Connection": "close"})
