"""Every operation of the API, with values of every wrong kind: refused, and never a 5xx."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

#: What people, programs and attackers put where a name, a number or a body is expected.
NASTY: list[Any] = [
    "",
    " ",
    "x",
    "ice-cream",
    "sales@1",
    "sales@-1",
    "sales@99999999999999999999999",
    "../../etc/passwd",
    "..",
    "/",
    "a/b",
    "%2e%2e",
    "\x00",
    "a\x00b",
    "\ud800",
    "é\u202e💥",
    "x" * 5000,
    "'; DROP TABLE runs; --",
    "%",
    "sha256:" + "0" * 64,
    "sha256:zz",
    "@",
    "@@",
    "None",
    "01a1fc9d-d1a2-78d1-83b7-ea526d9911c0",
    0,
    -1,
    1 << 63,
    1 << 2000,
    1e308,
    True,
    None,
    [],
    {},
    [[]],
    {"a": {"b": [None]}},
    ["\x00"],
    {"\x00": "\x00"},
]
VALUES = st.one_of(st.sampled_from(NASTY), st.text(max_size=20), st.integers())
#: Changes of state are refused for want of a sound name; these ones would wait, or be accepted.
HARMLESS_QUERY = {"wait_s": 0}


def _operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _names(operation: Any, where: str) -> list[str]:
    return [one["name"] for one in operation.get("parameters", ()) if one["in"] == where]


def _fields(document: Any, operation: Any) -> list[str] | None:
    """The names of the JSON body's fields; None where the operation takes no JSON."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    reference = content["schema"].get("$ref", "").rpartition("/")[2]
    schema = document["components"]["schemas"].get(reference, {})
    return list(schema.get("properties", {}))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(value: Any) -> str:
    return quote(_text(value).encode("utf-8", "surrogatepass"), safe="")


@st.composite
def requests(draw: Any, document: Any) -> tuple[str, str, bytes | None, dict[str, str]]:
    method, path, operation = draw(st.sampled_from(list(_operations(document))))
    for name in _names(operation, "path"):
        path = path.replace(f"{{{name}}}", _quoted(draw(VALUES)) or "-", 1)
    names = draw(st.sets(st.sampled_from(_names(operation, "query") or ["unknown"])))
    query = {name: _text(HARMLESS_QUERY.get(name, draw(VALUES))) for name in names}
    fields = _fields(document, operation)
    body: bytes | None = None
    if fields is not None:
        whole = st.fixed_dictionaries({}, optional=dict.fromkeys([*fields, "unknown"], VALUES))
        drawn = draw(st.one_of(whole, whole, VALUES))
        body = json.dumps(drawn).encode()
    elif method in ("POST", "PUT", "PATCH"):
        body = draw(st.sampled_from([b"", b"\x00", b"[" * 50_000, b"a,b\n1,2\n", b"{}"]))
    if query:
        path += "?" + urlencode(query, errors="surrogatepass")
    kind = draw(st.sampled_from(["application/json", "text/plain", "multipart/form-data", ""]))
    return method, path, body, {"Content-Type": kind}


def test_bad_input_the_api_answers_nothing_with_a_5xx(kiosk: Any, send: Callable[..., Any]) -> None:
    document = send(kiosk.url, "GET", "/api/v1/openapi.json").json
    before = send(kiosk.url, "GET", "/api/v1/audit/verify").json["checked"]
    seen: Counter[int] = Counter()

    @seed(20131)
    @settings(
        max_examples=600,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(requests(document))
    def ask(request: tuple[str, str, bytes | None, dict[str, str]]) -> None:
        method, path, body, headers = request
        answer = send(kiosk.url, method, path, body, headers)
        assert answer.status < 500, (request, answer.body[:500])
        seen[answer.status] += 1
        if answer.status >= 400:
            said = answer.json["error"]
            # Kubeflow's clients expect a text there.
            is_foreign = path.startswith("/apis/")
            assert said if is_foreign else said["message"], (request, answer.body[:500])

    ask()
    assert {200, 400, 404} <= set(seen), "the requests reach what they are to reach"
    after = send(kiosk.url, "GET", "/api/v1/audit/verify").json
    assert after["broken"] is None
    assert after["checked"] >= before


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000, b'{"alias": NaN}', b'{"a":1}' * 9]
)
def test_bad_input_bodies_that_are_no_json(
    kiosk: Any, send: Callable[..., Any], body: bytes
) -> None:
    with kiosk.untouched():
        answer = send(
            kiosk.url, "POST", "/api/v1/releases", body, {"Content-Type": "application/json"}
        )
    assert answer.status == 400
    assert answer.json["error"]["code"] == "invalid_input"
