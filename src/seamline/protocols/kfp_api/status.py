"""Errors as this API tells them: google.rpc.Status, with the HTTP code of the error's meaning."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from seamline.domain import errors
from seamline.protocols.errors import STATUS, sentence_of
from seamline.protocols.uploads import limited_route
from seamline.trust.roles import Verb

#: Error → google.rpc.Code.
CODES: dict[type[errors.SeamlineError], int] = {
    errors.InvalidInput: 3,
    errors.NotFound: 5,
    errors.Conflict: 6,
    errors.Forbidden: 7,
    errors.Refused: 9,
    errors.MachineryError: 13,
    errors.Unavailable: 14,
    errors.DigestMismatch: 15,
    errors.Unauthenticated: 16,
}
CANCELED, UNKNOWN, FAILED_PRECONDITION, INTERNAL = 1, 2, 9, 13
_CODE_OF_NAME = {cls.code: code for cls, code in CODES.items()}


def status_of(code: int, message: str) -> dict[str, Any]:
    """The part of a run or a task that says why it ended so."""
    return {"code": code, "message": message, "details": []}


def status_response(error: errors.SeamlineError) -> JSONResponse:
    message = str(error)
    body = {"error": message, **status_of(CODES.get(type(error), UNKNOWN), message)}
    return JSONResponse(body, STATUS.get(type(error), 500))


def api_route(limit_bytes: int, verb: Verb) -> type[APIRoute]:
    """A route class with this API's errors; whoever sends a body is asked for `verb` first."""

    class StatusRoute(limited_route(limit_bytes, verb)):  # type: ignore[misc]
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                try:
                    return _translated(await handle(request))
                except errors.SeamlineError as error:
                    return status_response(error)
                except RequestValidationError as error:
                    return status_response(errors.InvalidInput(sentence_of(error)))
                except HTTPException as error:
                    body = {"error": error.detail, **status_of(UNKNOWN, str(error.detail))}
                    return JSONResponse(body, error.status_code)

            return guarded

    return StatusRoute


def _translated(response: Response) -> Response:
    """What `limited_route` itself refused, in this API's words."""
    if response.status_code < 400 or not isinstance(response, JSONResponse):
        return response
    told = json.loads(bytes(response.body)).get("error")
    if not isinstance(told, dict):
        return response
    message = f"{told['message']} {told['next_step']}".rstrip()
    body = {"error": message, **status_of(_CODE_OF_NAME.get(told["code"], 3), message)}
    headers = {"Connection": "close"} if "connection" in response.headers else None
    return JSONResponse(body, response.status_code, headers)
