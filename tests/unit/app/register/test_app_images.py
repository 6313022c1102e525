"""A release names the images of container components by digest; publishing only notes them."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from kfp import compiler, dsl

from seamline.app.promote.make_release import make_release
from seamline.app.register.resolve_images import list_images
from seamline.domain.digests import digest_of
from seamline.domain.errors import Refused
from seamline.promote.release import Pin
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane

DIGEST = str(digest_of(b"index"))
PINNED = f"registry.example/score@{DIGEST}"


class Manifests(BaseHTTPRequestHandler):
    """The one question that is asked of a registry."""

    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Manifests)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    Manifests.asked.clear()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


def contained_in(image: str):
    @dsl.container_component
    def contained():
        return dsl.ContainerSpec(image=image, command=["true"])

    return contained


def ir(tmp_path, *images: str) -> bytes:
    """A lightweight component, and a container component in each of these images."""

    @dsl.component(base_image="registry.example/never-asked:1")
    def light() -> int:
        return 1

    @dsl.pipeline(name="in-images")
    def pipeline():
        light()
        for image in images:
            contained_in(image)()

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_bytes()


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def test_images_are_looked_up_once_and_pinned(plane: ControlPlane, tmp_path, registry) -> None:
    stores, data = plane.platform.stores, ir(tmp_path, f"{registry}/team/train:1", PINNED)
    digest = publish_pipeline(stores, data, ["1.0.0"], by="ann").digest
    settle(plane)
    assert stores.blobs.get(digest) == data
    assert [(one.reference, one.digest, one.note) for one in list_images(stores, digest)] == [
        (f"{registry}/team/train:1", DIGEST, ""),
        (PINNED, DIGEST, ""),
    ]
    made = make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")
    assert made.release.images == (
        Pin(f"{registry}/team/train", "1", DIGEST),
        Pin("registry.example/score", "", DIGEST),
    )
    assert Manifests.asked == ["/v2/team/train/manifests/1"]


def test_a_silent_registry_is_a_note_and_no_release(plane: ControlPlane, tmp_path, silent) -> None:
    stores = plane.platform.stores
    data = ir(
        tmp_path, f"{silent}/team/train:1", f"{silent}/team/score:1", "No/Reference", "x" * 401
    )
    digest = publish_pipeline(stores, data, ["1.0.0"], by="ann").digest
    settle(plane)
    found = {one.reference: one for one in list_images(stores, digest)}
    assert {one.digest for one in found.values()} == {None}
    assert "does not answer" in found[f"{silent}/team/train:1"].note
    assert found[f"{silent}/team/score:1"].note == found[f"{silent}/team/train:1"].note
    said = r"in-images@1.0.0 has some without: x{80} \(no reference\), .*does not answer"
    with pytest.raises(Refused, match=said):
        make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")


def test_an_image_that_a_task_chooses_is_in_no_release(plane: ControlPlane, tmp_path) -> None:
    stores = plane.platform.stores
    data = ir(tmp_path, PINNED).replace(
        f"image: {PINNED}".encode(), b"image: '{{$.inputs.parameters[''image'']}}'"
    )
    digest = publish_pipeline(stores, data, ["1.0.0"], by="ann").digest
    settle(plane)
    assert list_images(stores, digest) == []
    with pytest.raises(Refused, match="known only when its task starts"):
        make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")
