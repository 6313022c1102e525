"""`/metrics` of the control plane, in Prometheus' text format 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from seamline.app.figures import Figure, Histogram, Labels, PlatformFigures
from seamline.protocols.identity import caller_who_may
from seamline.trust.roles import Verb


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    def metrics(request: Request) -> PlainTextResponse:
        caller_who_may(request, Verb.READ)
        figures: PlatformFigures = request.app.state.figures
        return PlainTextResponse(render(figures.read()), media_type="text/plain; version=0.0.4")

    return router


def render(figures: Iterable[Figure | Histogram]) -> str:
    lines: list[str] = []
    for figure in figures:
        kind = figure.kind if isinstance(figure, Figure) else "histogram"
        lines += [f"# HELP {figure.name} {figure.says}", f"# TYPE {figure.name} {kind}"]
        if isinstance(figure, Figure):
            lines += (_line(figure.name, *series) for series in figure.values.items())
        else:
            lines += _histogram(figure)
    return "\n".join(lines) + "\n"


def _histogram(figure: Histogram) -> Iterator[str]:
    bounds = [*(f"{bound:g}" for bound in figure.bounds), "+Inf"]
    for labels, (buckets, total) in figure.values.items():
        counts = list(accumulate(buckets))
        for bound, count in zip(bounds, counts, strict=True):
            yield _line(f"{figure.name}_bucket", (*labels, ("le", bound)), count)
        yield _line(f"{figure.name}_sum", labels, total)
        yield _line(f"{figure.name}_count", labels, counts[-1])


def _line(name: str, labels: Labels, value: float) -> str:
    r"""
    >>> _line("tasks", (("team", 'a"b'),), 3)
    'tasks{team="a\\"b"} 3'
    >>> _line("bytes", (), 68719476736.0), _line("seconds", (), 0.25)
    ('bytes 68719476736', 'seconds 0.25')
    """
    pairs = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    shown = int(value) if value == int(value) else value
    return f"{name}{{{pairs}}} {shown}" if pairs else f"{name} {shown}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
