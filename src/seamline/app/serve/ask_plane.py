"""Ask the data plane something, as any client of it would; and what it says of itself."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from seamline.app.serve.data_plane import LOOK_TIMEOUT_S
from seamline.domain.errors import Unavailable
from seamline.serve.routing import DEFAULT_ENVIRONMENT

#: Series name and labels, sorted → value.
Series = tuple[str, frozenset[tuple[str, str]]]
_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class PlaneLook:
    """What the data plane says of one environment, and counts of all."""

    url: str
    health: Mapping[str, Any]
    figures: Mapping[Series, float]

    def figure(self, name: str, **labels: str) -> float | None:
        return self.figures.get((name, frozenset(labels.items())))


def ask_plane(
    url: str,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = LOOK_TIMEOUT_S,
) -> tuple[int, bytes]:
    """(status, body). Raises Unavailable where nobody answers, or not in time."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"The data plane at {url} did not answer: {error}.") from error
    finally:
        connection.close()


def look_at_plane(url: str | None, environment: str) -> PlaneLook | None:
    """None where there is none, or it does not answer at once."""
    if url is None:
        return None
    try:
        _, health = ask_plane(url, "GET", f"{base_path(environment)}/health/ready")
        _, figures = ask_plane(url, "GET", "/metrics")
        return PlaneLook(url, json.loads(health), read_figures(figures.decode()))
    except (Unavailable, ValueError):
        return None


def base_path(environment: str) -> str:
    """
    >>> base_path("production"), base_path("staging")
    ('/v2', '/staging/v2')
    """
    return "/v2" if environment == DEFAULT_ENVIRONMENT else f"/{quote(environment, safe='')}/v2"


def read_figures(text: str) -> dict[Series, float]:
    r"""Prometheus' text format.

    >>> read_figures('# TYPE a counter\na{x="1",y="q\\"s"} 3\nb 0.5\n')[("b", frozenset())]
    0.5
    """
    found: dict[Series, float] = {}
    for line in text.splitlines():
        sample = _SAMPLE.fullmatch(line)
        if sample is None:
            continue
        name, labels, value = sample.groups()
        pairs = _LABEL.findall(labels or "")
        found[name, frozenset((key, _unescape(said)) for key, said in pairs)] = float(value)
    return found


def counts_of(figures: Mapping[Series, float], environment: str) -> dict[str, dict[str, int]]:
    """Endpoint → status → requests since the data plane started."""
    found: dict[str, dict[str, int]] = {}
    for (name, labels), value in figures.items():
        told = dict(labels)
        if name == "seamline_requests_total" and told.get("environment") == environment:
            found.setdefault(told["endpoint"], {})[told["status"]] = int(value)
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}


def _unescape(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPED.get(found[0], found[0]), text)
