"""References are looked up as OCI registries have it: against Debian's, and against a token's."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from seamline.domain.errors import InvalidInput, NotFound, Refused, Unavailable
from seamline.register.images.references import parse_image
from seamline.register.images.registries import passwords_from, resolve_image

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
#: ann's password is "secret": bcrypt, as the registry wants it.
HTPASSWD = "ann:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
PASSWORD = base64.b64encode(b"ann:secret").decode()


def nobody(_registry: str) -> None:
    return None


@dataclass(frozen=True)
class Registry:
    """Debian's docker-registry on a free port, and what a client needs to push to it by hand."""

    address: str
    password: str | None = None

    def send(self, method: str, path: str, body: bytes = b"", kind: str = "") -> str:
        connection = http.client.HTTPConnection(self.address, timeout=120)
        headers = {"Content-Type": kind or "application/octet-stream"}
        if self.password:
            headers["Authorization"] = f"Basic {self.password}"
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read()
        connection.close()
        assert response.status < 300, (method, path, response.status, text)
        return response.getheader("Location") or ""

    def push(self, name: str, tag: str) -> str:
        """An image of one empty layer, and an index of it under the tag; the index's digest."""
        config = self._blob(name, b'{"architecture":"amd64","os":"linux"}')
        layer = self._blob(name, b"no layer at all")
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **config},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **layer}],
            }
        ).encode()
        digest = digest_of(manifest)
        self.send("PUT", f"/v2/{name}/manifests/{digest}", manifest, MANIFEST)
        entry = {"mediaType": MANIFEST, "digest": digest, "size": len(manifest)}
        platform = {"architecture": "amd64", "os": "linux"}
        index = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [{**entry, "platform": platform}],
                "annotations": {"tag": tag},
            }
        ).encode()
        self.send("PUT", f"/v2/{name}/manifests/{tag}", index, INDEX)
        return digest_of(index)

    def _blob(self, name: str, data: bytes) -> dict[str, object]:
        place = self.send("POST", f"/v2/{name}/blobs/uploads/")
        parts = urlsplit(place)
        query = f"{parts.query}&digest={digest_of(data)}".lstrip("&")
        self.send("PUT", f"{parts.path}?{query}", data)
        return {"digest": digest_of(data), "size": len(data)}


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module", params=["open", "basic"])
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed here (Debian: docker-registry)")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
        "http": {"addr": address},
    }
    if request.param == "basic":
        (folder / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(settings))
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stderr=log)
    try:
        _await(address, process, folder / "log")
        yield Registry(address, PASSWORD if request.param == "basic" else None)
    finally:
        process.terminate()
        process.wait()
        log.close()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it takes connections, or has ended."""
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", int(address.partition(":")[2])), 1).close()
        except OSError:
            continue
        return
    raise AssertionError(log.read_text())


def test_a_tag_stands_for_the_index_that_it_names(registry: Registry) -> None:
    def passwords(_asked: str) -> str | None:
        return registry.password

    first = registry.push("team/train", "1")
    again = registry.push("team/train", "2")
    assert first != again
    for tag, digest in (("1", first), ("2", again)):
        found = parse_image(f"{registry.address}/team/train:{tag}")
        assert resolve_image(found, passwords) == digest
        pinned = parse_image(f"{registry.address}/team/train@{digest}")
        assert resolve_image(pinned, nobody) == digest
    with pytest.raises(NotFound, match="team/train:3"):
        resolve_image(parse_image(f"{registry.address}/team/train:3"), passwords)
    if registry.password:
        with pytest.raises(Refused, match="does not let this server look"):
            resolve_image(parse_image(f"{registry.address}/team/train:1"), nobody)


def test_passwords_are_those_of_container_engines(registry: Registry, tmp_path: Path) -> None:
    if registry.password is None:
        pytest.skip("this registry asks for none")
    digest = registry.push("team/private", "1")
    auths = {"auths": {registry.address: {"auth": registry.password}}}
    (tmp_path / "config.json").write_text(json.dumps(auths))
    reference = parse_image(f"{registry.address}/team/private:1")
    for environ in (
        {"DOCKER_CONFIG": str(tmp_path)},
        {"REGISTRY_AUTH_FILE": str(tmp_path / "config.json")},
    ):
        assert resolve_image(reference, passwords_from(environ)) == digest


class TokenRegistry(BaseHTTPRequestHandler):
    """Asks for a token and hands one out to ann, as the specification of tokens has it."""

    asked: ClassVar[list[dict[str, list[str]]]] = []
    realm: ClassVar[str] = ""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer t0ken":
            self.send_response(401)
            challenge = f'Bearer realm="{self.realm}",service="reg",scope="repository:x:pull"'
            self.send_header("WWW-Authenticate", challenge)
        else:
            self.send_response(200)
            self.send_header("Docker-Content-Digest", digest_of(b"index"))
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(parse_qs(urlsplit(self.path).query))
        knows = self.headers.get("Authorization") == f"Basic {PASSWORD}"
        self.send_response(200 if knows else 401)
        self.end_headers()
        self.wfile.write(b'{"token": "t0ken"}' if knows else b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def token_registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), TokenRegistry)
    address = f"127.0.0.1:{server.server_port}"
    TokenRegistry.realm = f"http://{address}/token"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield address
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_is_asked_for_the_one_name(token_registry: str) -> None:
    reference = parse_image(f"{token_registry}/team/train:1")
    assert resolve_image(reference, lambda _: PASSWORD) == digest_of(b"index")
    assert TokenRegistry.asked[-1] == {"service": ["reg"], "scope": ["repository:team/train:pull"]}
    with pytest.raises(Refused, match="podman login"):
        resolve_image(reference, nobody)


def test_a_password_does_not_leave_this_machine_in_clear(token_registry: str) -> None:
    TokenRegistry.realm = "http://tokens.example.org/token"
    with pytest.raises(Refused, match="not https"):
        resolve_image(parse_image(f"{token_registry}/team/train:1"), lambda _: PASSWORD)


def test_nobody_answers() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(Unavailable, match=address):
            resolve_image(parse_image(f"{address}/team/train:1"), nobody)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Upper/Case",
        "a/../b",
        "example.org/",
        "example.org/x:",
        "example.org/x@sha256:abc",
        "example.org/x@",
        "http://example.org/x",
        "example.org/x:1 2",
        "x?y",
        "exam ple.org/x",
        "user:secret/x",
        "[::1/x",
        "example.org/" + "x" * 400,
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidInput, match="no reference"):
        parse_image(text)
