"""One table: error meaning → status code and JSON body."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from seamline.domain import errors

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
