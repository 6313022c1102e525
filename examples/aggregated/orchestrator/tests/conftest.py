"""A registry on a real port that serves a folder, for the unmodified RegistryClient."""

import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output


@dataclass
class Registry:
    """What is published, by name and tag; `altered` is sent in place of what was asked for."""

    url: str = ""
    tags: dict[tuple[str, str], bytes] = field(default_factory=dict)
    altered: set[str] = field(default_factory=set)

    def publish(self, name: str, tag: str, data: bytes) -> str:
        self.tags[name, tag] = data
        return digest_of(data)

    def answer(self, path: str) -> bytes | None:
        *_, name, reference = path.split("/")
        if "/tags/" in path:
            name = path.split("/")[-3]
            data = self.tags.get((name, reference))
            version = f"packages/{name}/versions/{digest_of(data)}" if data else ""
            return json.dumps({"version": version}).encode() if data else None
        by_digest = {
            (one, digest_of(data)): data for (one, _), data in self.tags.items() if one == name
        }
        data = self.tags.get((name, reference)) or by_digest.get((name, reference))
        return b"# altered\n" + data if data and name in self.altered else data


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    served = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])  # how soon it ends
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}/default/main"
        monkeypatch.setenv("REGISTRY_URL", served.url)
        monkeypatch.setenv("REGISTRY_TOKEN", "a-token")
        yield served
        server.shutdown()
        thread.join()


@dsl.component(base_image="python:3.11")
def make(flights: Input[Dataset], params: dict, note: str, made: Output[Dataset]):
    with open(made.path, "w") as file:
        file.write(f"{note}: {params['origin']}\n")


def compiled(output: str, folder: Path, note: str = "first", params: str = "params") -> bytes:
    """A stand-in with what this codebase counts on: flights, params, one output of this name."""
    Outputs = NamedTuple("Outputs", [(output, Dataset)])

    def by_params(flights: str, params: dict) -> Outputs:
        return body(flights, params)

    def by_settings(flights: str, settings: dict) -> Outputs:
        return body(flights, settings)

    def body(flights, params):
        flown = dsl.importer(artifact_uri=flights, artifact_class=Dataset, reimport=False)
        return Outputs(make(flights=flown.output, params=params, note=note).outputs["made"])

    chosen = by_params if params == "params" else by_settings
    file = folder / "stand-in.yaml"
    name = f"{output}-pipeline"
    compiler.Compiler().compile(dsl.pipeline(name=name)(chosen), str(file))
    return file.read_bytes()


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory):
    """stand_in(output, note=…, params=…) → the bytes of a compiled pipeline; each compiled once."""
    return functools.cache(functools.partial(compiled, folder=tmp_path_factory.mktemp("parts")))
