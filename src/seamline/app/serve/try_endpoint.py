"""Ask an endpoint one row, as a caller would: what a person typed goes there, and the data plane
alone says what is wrong with it."""

from __future__ import annotations

import json
import math
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from seamline.app.serve.ask_plane import ask_plane, base_path
from seamline.domain.errors import Unavailable
from seamline.serve.datatypes import TEXT
from seamline.serve.snapshots.snapshot import Column, EndpointSpec

#: A model that is loaded on demand may take its time.
PATIENCE_S = 60.0
TOKEN = "SEAMLINE_TOKEN"
ANSWERED = 200


@dataclass(frozen=True)
class Tried:
    """`column`: the input that the error names, where it names one."""

    status: int
    seconds: float
    error: str = ""
    column: str | None = None
    prediction_id: str = ""
    model_version: str = ""
    outputs: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_row(columns: Iterable[Column], texts: Mapping[str, str]) -> dict[str, Any]:
    """What was typed as JSON values; a field that was left empty is left out.

    >>> columns = [Column("hour", "INT64"), Column("carrier", "BYTES"), Column("temp", "FP64")]
    >>> make_row(columns, {"hour": "6", "carrier": "7", "temp": ""})
    {'hour': 6, 'carrier': '7'}
    >>> make_row(columns, {"hour": "six", "temp": "NaN"})
    {'hour': 'six', 'temp': 'NaN'}
    """
    typed = ((column, texts.get(column.name, "")) for column in columns)
    return {column.name: _value(text, column.datatype) for column, text in typed if text}


def try_endpoint(
    url: str,
    environment: str,
    spec: EndpointSpec,
    row: Mapping[str, Any],
    by: str,
    authorization: str,
) -> Tried:
    """`by` is logged as the request's own id: whoever reads the log sees that a person tried.

    Raises Unavailable where no data plane answers."""
    body = json.dumps({"rows": [row], "id": f"console:{by}"}).encode()
    headers = {"Content-Type": "application/json", "Authorization": authorization}
    began_s = time.perf_counter()
    status, said = ask_plane(
        url, "POST", _path(environment, spec), body, headers, timeout_s=PATIENCE_S
    )
    seconds = time.perf_counter() - began_s
    try:
        told = json.loads(said)
        if status != ANSWERED:
            error = str(told["error"])
            names = [one.name for one in (*spec.signature.inputs, *spec.context)]
            return Tried(status, seconds, error, find_named(error, names))
        answered = told["rows"][0]
        return Tried(
            status,
            seconds,
            prediction_id=answered["prediction_id"],
            model_version=told["model_version"],
            outputs=answered["outputs"],
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise Unavailable(f"What answers at {url} is no data plane: {said[:200]!r}.") from error


def find_named(error: str, names: Iterable[str]) -> str | None:
    """The input that a refusal speaks of: the one that it quotes first.

    >>> find_named("Row 0: 'hour' takes INT64; it is text 'temp'.", ["temp", "hour"])
    'hour'
    >>> find_named("Nothing is deployed.", ["hour"]) is None
    True
    """
    places = {error.find(repr(name)): name for name in names}
    found = [place for place in places if place >= 0]
    return places[min(found)] if found else None


def make_curl(
    url: str, environment: str, spec: EndpointSpec, row: Mapping[str, Any], *, needs_token: bool
) -> str:
    """The same question from a shell."""
    words = ["curl", "-sS", "--fail-with-body", "-H", "'Content-Type: application/json'"]
    if needs_token:
        words += ["-H", f'"Authorization: Bearer ${TOKEN}"']
    text = json.dumps([row], ensure_ascii=False)
    return " ".join([*words, "-d", shlex.quote(text), shlex.quote(url + _path(environment, spec))])


def _path(environment: str, spec: EndpointSpec) -> str:
    return f"{base_path(environment)}/models/{quote(spec.endpoint, safe='')}/predict"


def _value(text: str, datatype: str) -> Any:
    """Text that is no JSON number or truth value goes as it is: the data plane says so."""
    if datatype == TEXT:
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    is_plain = isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else text
