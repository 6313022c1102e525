"""Bodies of every wrong kind sent to the upload of a real server: never a 5xx, nothing visible,
nothing left, nothing outside of the workspace."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seamline.register.packages import index as packages
from seamline.register.packages.wheel_check import check_wheel

soaks = not settings.default.derandomize
search = settings(
    deadline=None,
    max_examples=10_000 if soaks else 250,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NAMES = st.sampled_from(
    [":action", "content", "name", "version", "sha256_digest", "x", "", "é", 'a"b', "content\x00"]
)
VALUES = st.one_of(
    st.sampled_from([b"file_upload", b"fuzz-tools", b"1.0", b"0" * 64, b"\xff", b"\x00" * 2000]),
    st.binary(max_size=40),
)
FILENAMES = st.sampled_from(
    [None, "", "fuzz_tools-1.0-py3-none-any.whl", "../../x.whl", "/etc/x", "\udcff", "a" * 9000]
)
WHEEL = "fuzz_tools-1.0-py3-none-any.whl"
LENGTHS = st.sampled_from([None, None, None, 0, 1, 10**9])


@st.composite
def bodies(draw: st.DrawFn, wheel: bytes) -> bytes:
    """A form with wrong parts, then perhaps cut, spliced or flipped."""
    boundary = b"--fuzz"
    contents = st.one_of(VALUES, st.just(wheel))
    sound = [(":action", b"file_upload", None), ("content", wheel, WHEEL)]
    wrong = st.lists(st.tuples(NAMES, contents, FILENAMES), max_size=4)
    parts = draw(st.one_of(st.just(sound), wrong))
    body = b""
    for name, value, filename in parts:
        said = "" if filename is None else f'; filename="{filename}"'
        line = f'Content-Disposition: form-data; name="{name}"{said}'
        header = line.encode("utf-8", "surrogateescape")
        header = draw(st.sampled_from([header] * 8 + [b"", b"X: y", b"\xff: \x00", header * 3]))
        body += boundary + b"\r\n" + header + b"\r\n\r\n" + value + b"\r\n"
    body += boundary + draw(st.sampled_from([b"--\r\n"] * 4 + [b"", b"--", b"\r\n", b"x"]))
    kind = draw(st.sampled_from(["whole", "whole", "cut", "flip", "splice", "noise"]))
    at = draw(st.integers(0, len(body) - 1))
    if kind == "cut":
        return body[:at]
    if kind == "flip":
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    if kind == "splice":
        return body[:at] + draw(st.binary(max_size=20)) + body[draw(st.integers(at, len(body))) :]
    return draw(st.binary(max_size=200)) if kind == "noise" else body


@pytest.fixture
def client(index: Any) -> Iterator[httpx.Client]:
    with httpx.Client(timeout=60) as opened:
        yield opened


@pytest.fixture
def wheel(make_wheel: Callable[..., Path]) -> bytes:
    """The same for all examples: a wheel tells when it was packed."""
    return make_wheel("fuzz-tools", "1.0").read_bytes()


def held(root: Path) -> set[tuple[str, int]]:
    return {
        (str(path), path.stat().st_size)
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("seamline.db")
    }


@search
@given(data=st.data())
def test_bodies_of_every_wrong_kind(
    index: Any, client: httpx.Client, wheel: bytes, data: st.DataObject
) -> None:
    body = data.draw(bodies(wheel))
    before = held(index.stores.root.parent)
    kinds = ["multipart/form-data; boundary=fuzz"] * 6 + [
        "multipart/form-data",
        "",
        "x/y; boundary",
    ]
    headers = {"content-type": data.draw(st.sampled_from(kinds))}
    answer = client.post(index.upload(), content=body, headers=headers)
    assert answer.status_code in (200, 400, 409, 413, 422)
    listed = packages.list_package_files(index.stores, "dataops", "fuzz-tools")
    if answer.status_code == 200:
        # A bit may flip where a wheel stays sound: in a tag of its name, or in a time of day.
        published = {f"fuzz-tools 1.0 is {file.digest}\n": file for file in listed}
        file = published[answer.text]
        check_wheel(file.filename, packages.read_package_file(index.stores, file))
    else:
        assert answer.json()["error"]["message"]
        assert held(index.stores.root.parent) == before
    assert not any((index.stores.root / "incoming").glob("*"))


@settings(search, max_examples=1_000 if soaks else 60)
@given(data=st.data())
def test_connections_that_end_anywhere(
    index: Any, client: httpx.Client, wheel: bytes, data: st.DataObject
) -> None:
    """The server goes on, and nothing of what came is to be seen."""
    body = data.draw(bodies(wheel))
    length = data.draw(LENGTHS)
    stated = len(body) + 1 if length is None else length
    parts = urlsplit(index.upload())
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {stated}\r\n"
        "Content-Type: multipart/form-data; boundary=fuzz\r\n\r\n"
    ).encode()
    sent = head + body
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(sent[: data.draw(st.integers(0, len(sent)))])
    assert client.get(index.simple()).status_code == 200
    assert packages.list_package_names(index.stores, "dataops") == []
