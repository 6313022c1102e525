"""One table: error meaning → status code and JSON body."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from seamline.domain import errors
from seamline.store.room import MAY_BE_FULL, is_out_of_room

STATUS: dict[type[errors.SeamlineError], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Refused: 422,
    errors.DigestMismatch: 422,
    errors.Unavailable: 503,
    errors.MachineryError: 500,
}


def error_body(error: errors.SeamlineError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "next_step": error.next_step}}


def install_error_handler(app: FastAPI) -> None:
    @app.exception_handler(errors.SeamlineError)
    async def _answer(request: Request, error: errors.SeamlineError) -> JSONResponse:
        headers = (
            {"WWW-Authenticate": "Basic"} if isinstance(error, errors.Unauthenticated) else None
        )
        return JSONResponse(error_body(error), STATUS.get(type(error), 500), headers)

    @app.exception_handler(RequestValidationError)
    async def _answer_shape(request: Request, error: RequestValidationError) -> JSONResponse:
        refusal = errors.InvalidInput(
            f"The request has another shape: {sentence_of(error)}.",
            next_step="The shapes are in /api/v1/openapi.json.",
        )
        return JSONResponse(error_body(refusal), 400)

    @app.exception_handler(HTTPException)
    async def _answer_http(request: Request, error: HTTPException) -> JSONResponse:
        what = f"{request.method} {request.url.path}: {error.detail}."
        cls = errors.NotFound if error.status_code == 404 else errors.InvalidInput
        return JSONResponse(error_body(cls(what)), error.status_code, error.headers)

    async def _answer_no_room(request: Request, error: Exception) -> JSONResponse:
        if not is_out_of_room(error):
            raise error
        refusal = errors.Unavailable(
            f"{request.method} {request.url.path}: there is no room on the server's disk.",
            next_step="Make room there, then ask again.",
        )
        return JSONResponse(error_body(refusal), STATUS[errors.Unavailable])

    for kind in MAY_BE_FULL:
        app.add_exception_handler(kind, _answer_no_room)


def sentence_of(error: RequestValidationError) -> str:
    """Where in the request, and what is wrong there."""
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    )
