"""Uploads that are broken, interrupted, too large, or many at once."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from seamline.domain.facts import PackagePublished
from seamline.register.packages import index as packages
from seamline.store.facts import read_facts

FIELDS = {":action": "file_upload", "name": "team-tools", "version": "1.0"}
BOUNDARY = "b0undary"


def form(*parts: tuple[str, bytes, str | None], end: str = "--\r\n") -> bytes:
    """Parts are (field, value, file name)."""
    body = b""
    for name, value, filename in parts:
        said = f'; filename="{filename}"' if filename is not None else ""
        body += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{said}'.encode()
        body += b"\r\n\r\n" + value + b"\r\n"
    return body + f"--{BOUNDARY}{end}".encode()


def send(index: Any, body: bytes, kind: str = f"multipart/form-data; boundary={BOUNDARY}") -> Any:
    return httpx.post(index.upload(), content=body, headers={"content-type": kind})


def held(index: Any) -> list[Path]:
    """Whatever lies in the workspace, the database apart."""
    root = index.stores.root
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("seamline.db")
    )


@pytest.fixture
def wheel(make_wheel: Callable[..., Path]) -> Path:
    return make_wheel("team-tools", "1.0")


def test_forms_that_cannot_be_read(index: Any, wheel: Path) -> None:
    before, data = held(index), wheel.read_bytes()
    action, file = (":action", b"file_upload", None), ("content", data, wheel.name)
    whole = form(action, file)
    bodies = [
        b"",
        b"x",
        form(action, file, end=""),
        whole[: len(whole) // 2],
        whole.replace(BOUNDARY.encode(), b"other"),
        whole.replace(b"Content-Disposition", b"Content\x00Disposition"),
        whole.replace(b"\r\n\r\n", b"\r\n", 1),
        whole.replace(b'name="content"', b"", 1),
        form(action, file, file),
        form(action, action, file),
        form((":action", b"x" * 2000, None), file),
        form(*[action] * 2000, file),
        form(action),
        form(action, ("content", data, None)),
        form(action, ("content", data, "")),
        form(action, ("content", data, "../../" + wheel.name)),
        form(action, ("content", data, "\x00.whl")),
        form(action, ("content", b"", wheel.name)),
    ]
    for body in bodies:
        answer = send(index, body)
        assert answer.status_code == 400, body[:200]
        assert answer.json()["error"]["message"]
    for kind in ("", "text/plain", "multipart/form-data", "multipart/form-data; boundary="):
        assert send(index, whole, kind).status_code == 400
    assert send(index, whole, f"multipart/form-data; boundary={'b' * 300}").status_code == 400
    assert packages.list_package_names(index.stores, "dataops") == []
    assert held(index) == before
    assert send(index, whole).status_code == 200
    assert packages.list_package_names(index.stores, "dataops") == ["team-tools"]


def test_what_is_refused_leaves_nothing(index: Any, make_wheel: Callable[..., Path]) -> None:
    published, other = make_wheel("team-tools", "1.0"), make_wheel("team-tools", "1.0", "y = 2\n")
    content = {"content": (published.name, published.read_bytes())}
    assert httpx.post(index.upload(), data=FIELDS, files=content).status_code == 200
    before = held(index)
    content = {"content": (other.name, other.read_bytes())}
    assert httpx.post(index.upload(), data=FIELDS, files=content).status_code == 409
    huge = {"content": (other.name, bytes(2 << 20))}
    assert httpx.post(index.upload(), data=FIELDS, files=huge).status_code == 413

    def endless() -> Any:  # of no stated length
        yield form(("content", b"", other.name), end="")
        for _ in range(64):
            yield bytes(64 << 10)

    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        status = httpx.post(index.upload(), content=endless(), headers=kind).status_code
    except httpx.TransportError:  # it hung up on us while we were sending
        status = 413
    assert status == 413
    assert held(index) == before


def test_one_version_spelt_in_two_ways(index: Any, make_wheel: Callable[..., Path]) -> None:
    for version, status in (("1.0", 200), ("1.0.0", 409), ("1", 409), ("1.0.1", 200)):
        path = make_wheel("team-tools", version)
        content = {"content": (path.name, path.read_bytes())}
        fields = {":action": "file_upload"}
        assert httpx.post(index.upload(), data=fields, files=content).status_code == status


def test_an_interrupted_upload_leaves_nothing(index: Any, wheel: Path) -> None:
    before = held(index)
    body = form((":action", b"file_upload", None), ("content", wheel.read_bytes(), wheel.name))
    parts = urlsplit(index.upload())
    head = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 900000\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    )
    incoming = index.stores.root / "incoming"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(head.encode() + body[:-20])
        _until(lambda: incoming.exists() and any(incoming.iterdir()))
    _until(lambda: not any(incoming.iterdir()))
    assert held(index) == before
    assert packages.list_package_names(index.stores, "dataops") == []


def test_two_uploads_of_one_version_at_the_same_instant(
    index: Any, make_wheel: Callable[..., Path]
) -> None:
    for turn in range(5):
        version = f"1.{turn}"
        start = Barrier(4)

        def upload(number: int, version: str = version, start: Barrier = start) -> int:
            path = make_wheel("team-tools", version, f"x = {number}\n")
            files = {"content": (path.name, path.read_bytes())}
            start.wait()
            answer = httpx.post(index.upload(), data={":action": "file_upload"}, files=files)
            return answer.status_code

        with ThreadPoolExecutor(4) as pool:
            assert sorted(pool.map(upload, range(4))) == [200, 409, 409, 409]
    files = packages.list_package_files(index.stores, "dataops", "team-tools")
    assert len(files) == 5
    # Each has a blob for its bytes and one for its METADATA; nothing of the others is left.
    assert len([path for path in held(index) if "blobs" in path.parts]) >= 10
    for file in files:
        data = packages.read_package_file(index.stores, file)
        assert "sha256:" + hashlib.sha256(data).hexdigest() == file.digest


def test_the_same_bytes_at_the_same_instant(index: Any, make_wheel: Callable[..., Path]) -> None:
    """As when a job is started twice: nobody is refused, and it is published once."""
    for turn in range(5):
        path = make_wheel("team-tools", f"1.{turn}")
        files, start = {"content": (path.name, path.read_bytes())}, Barrier(4)

        def upload(_: int, files: Any = files, start: Barrier = start) -> int:
            start.wait()
            answer = httpx.post(index.upload(), data={":action": "file_upload"}, files=files)
            return answer.status_code

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(upload, range(4))) == [200, 200, 200, 200]
    with index.stores.db.read() as connection:
        facts = read_facts(connection, kinds=[PackagePublished.kind])
    files = packages.list_package_files(index.stores, "dataops", "team-tools")
    assert sorted(one.body["filename"] for one in facts) == sorted(one.filename for one in files)
    assert len(files) == 5
    assert not any((index.stores.root / "incoming").iterdir())


def test_nothing_is_ever_deleted(index: Any, wheel: Path) -> None:
    """A release names its packages by digest: there is no request that takes one away."""
    content = {"content": (wheel.name, wheel.read_bytes())}
    assert httpx.post(index.upload(), data=FIELDS, files=content).status_code == 200
    [file] = packages.list_package_files(index.stores, "dataops", "team-tools")
    before = held(index)
    digest = file.digest.removeprefix("sha256:")
    for path in ("simple/team-tools/", "simple/", f"files/{digest}/{file.filename}", "upload/"):
        for method in ("DELETE", "PUT", "PATCH"):
            answer = httpx.request(method, f"{index.url}/pypi/dataops/{path}")
            assert answer.status_code == 405, (method, path)
    for action in ("remove_pkg", "remove", "delete"):
        answer = httpx.post(index.upload(), data={**FIELDS, ":action": action}, files=content)
        assert answer.status_code == 400
        assert action in answer.json()["error"]["message"]
    assert held(index) == before
    assert packages.list_package_files(index.stores, "dataops", "team-tools") == [file]


def test_twenty_uploaders_lose_nothing(index: Any, make_wheel: Callable[..., Path]) -> None:
    start = Barrier(20)

    def upload(number: int) -> list[tuple[str, int]]:
        token = ("__token__", tokens[number])
        start.wait()
        answers = []
        for version in ("1.0", "1.1", "1.2"):
            path = make_wheel(f"tools-{number}", version, f"x = {number}\n")
            data = {"content": (path.name, path.read_bytes())}
            fields = {":action": "file_upload"}
            with httpx.Client(timeout=60, auth=token) as client:
                answers.append((path.name, client.post(index.upload(), data=fields, files=data)))
        return [(name, answer.status_code) for name, answer in answers]

    tokens = [index.token_of(f"person-{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        sent = [one for answers in pool.map(upload, range(20)) for one in answers]
    assert {status for _, status in sent} == {200}
    assert len(packages.list_package_names(index.stores, "dataops")) == 20
    for filename, _ in sent:
        file = packages.find_package_file(index.stores, "dataops", filename)
        assert len(packages.read_package_file(index.stores, file)) == file.size_bytes
    assert not any((index.stores.root / "incoming").iterdir())


def test_fields_that_nobody_asks_for(index: Any, wheel: Path) -> None:
    """Descriptions, classifiers by the dozen, signatures: what clients send along."""
    body = form(
        *[("classifiers", b"Topic :: Testing", None)] * 50,
        ("description", b"long " * 100_000, None),
        ("gpg_signature", b"x" * 5_000, wheel.name + ".asc"),
        (":action", b"file_upload", None),
        ("content", wheel.read_bytes(), wheel.name),
        ("attestations", b"[]", None),
    )
    answer = send(index, body)
    assert answer.status_code == 200, answer.text
    [file] = packages.list_package_files(index.stores, "dataops", "team-tools")
    assert packages.read_package_file(index.stores, file) == wheel.read_bytes()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)
