"""The simple API and the upload, as the specifications spell them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from seamline.domain.states import Role
from seamline.register.packages import index as packages

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def wheel(index: Any, make_wheel: Callable[..., Path]) -> Path:
    path = make_wheel("team-tools", "1.0")
    packages.publish_package(index.stores, path.name, path.read_bytes(), by="ada")
    return path


def test_html_and_json_say_the_same(index: Any, wheel: Path) -> None:
    url = index.simple() + "team-tools/"
    html = httpx.get(url, headers={"accept": "text/html"})
    assert html.headers["content-type"].startswith("text/html")
    [link] = re.findall(r'href="([^"]+)"', html.text)
    described = httpx.get(url, headers={"accept": JSON})
    assert described.headers["content-type"] == JSON
    assert described.headers["vary"] == "Accept"
    body = described.json()
    [file] = body["files"]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert (body["name"], body["versions"]) == ("team-tools", ["1.0"])
    assert file["hashes"] == {"sha256": digest}
    assert link == f"{file['url']}#sha256={digest}"
    address = urljoin(url, file["url"])
    assert httpx.get(address).content == wheel.read_bytes()
    assert httpx.head(address).headers["content-length"] == str(file["size"])
    metadata = httpx.get(address + ".metadata")
    assert hashlib.sha256(metadata.content).hexdigest() == file["core-metadata"]["sha256"]
    names = httpx.get(index.simple(), headers={"accept": "*/*"})
    assert '<a href="team-tools/">team-tools</a>' in names.text


def test_paths_that_lead_nowhere(index: Any, wheel: Path) -> None:
    assert httpx.get(f"{index.url}/pypi/dataops/files/{'0' * 64}/{wheel.name}").status_code == 404
    unknown = httpx.get(f"{index.url}/pypi/prod/simple/")
    assert unknown.status_code == 404
    assert "production" in unknown.json()["error"]["next_step"]
    other = httpx.post(f"{index.url}/pypi/prod/upload/", data={":action": "file_upload"})
    assert other.status_code == 404
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    outside = httpx.get(f"{index.url}/pypi/production/files/{digest}/{wheel.name}")
    assert outside.status_code == 404


def test_uploads_that_are_refused(index: Any, make_wheel: Callable[..., Path]) -> None:
    path = make_wheel("team-tools", "1.0")
    good = {":action": "file_upload", "name": "team-tools", "version": "1.0"}
    data = path.read_bytes()
    cases: list[tuple[int, dict[str, str], str, bytes, str]] = [
        (422, good, path.name, data, "staging"),
        (400, {**good, ":action": "submit"}, path.name, data, "dataops"),
        (400, {**good, "sha256_digest": "0" * 64}, path.name, data, "dataops"),
        (400, {**good, "name": "other"}, path.name, data, "dataops"),
        (400, good, "team_tools-1.0.tar.gz", data, "dataops"),
        (400, good, path.name, b"no zip", "dataops"),
        (413, good, path.name, bytes(2 << 20), "dataops"),
    ]
    for status, fields, filename, content, environment in cases:
        answer = httpx.post(
            index.upload(environment), data=fields, files={"content": (filename, content)}
        )
        assert answer.status_code == status
        assert answer.json()["error"]["message"]
    viewer = ("__token__", index.token_of("vera", Role.VIEWER))
    for auth, status in ((viewer, 403), (("__token__", "wrong"), 401)):
        huge = {"content": (path.name, bytes(2 << 20))}  # answered before it is read
        answer = httpx.post(index.upload(), data=good, files=huge, auth=auth)
        assert answer.status_code == status
    nothing = httpx.post(index.upload(), data=good, files={"other": b"x"})
    assert nothing.status_code == 400
    assert packages.list_package_names(index.stores, "dataops") == []
