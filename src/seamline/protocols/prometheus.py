"""`/metrics` of the control plane, in Prometheus' text format."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from seamline.app.figures import platform_figures
from seamline.protocols.identity import caller_who_may
from seamline.trust.roles import Verb


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> PlainTextResponse:
        caller_who_may(request, Verb.READ)
        lines = []
        for name, (help_, values) in platform_figures(request.app.state.platform).items():
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
            lines += [f"{name}{labels} {value}" for labels, value in values.items()]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")

    return router
