"""What an image stood for is signed: a digest written into the database starts nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kfp import compiler, dsl
from sqlalchemy import delete, update

from seamline.app.promote.make_release import make_release
from seamline.app.register.resolve_images import image_to_start, inherit_images, list_images
from seamline.app.register.verify_artifact import find_artifacts
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, Refused
from seamline.register.images.rows import PIPELINE_IMAGES
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.server import ControlPlane
from seamline.train.context import RunContext
from seamline.train.runs import request_run
from seamline.trust.keys import KEYS, load_or_create_key
from seamline.trust.proof import Findings, Outcome, examine, proof_from_json, say
from seamline.trust.signing import rotate_key
from seamline.trust.statement_rows import STATEMENTS

TRUE, FALSE = str(digest_of(b"the image")), str(digest_of(b"another image"))


class Manifests(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Docker-Content-Digest", TRUE)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def image() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Manifests)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"127.0.0.1:{server.server_port}/team/train:1"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def published(plane: ControlPlane, tmp_path, image: str) -> tuple[bytes, str]:
    """A pipeline whose image has been looked up, and its digest."""

    @dsl.container_component
    def contained():
        return dsl.ContainerSpec(image=image, command=["true"])

    @dsl.pipeline(name="in-images")
    def pipeline():
        contained()

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    data = path.read_bytes()
    digest = publish_pipeline(plane.platform.stores, data, ["1.0.0"], by="ann").digest
    while plane.loop.step():
        pass
    return data, digest


def write(plane: ControlPlane, pipeline: str, digest: str | None) -> None:
    """As somebody does who can write the database."""
    here = PIPELINE_IMAGES.c.pipeline == pipeline
    with plane.platform.stores.db.transaction() as tx:
        tx.execute(update(PIPELINE_IMAGES).where(here).values(digest=digest))


def unstate(plane: ControlPlane) -> None:
    """As an earlier Seamline left it."""
    with plane.platform.stores.db.transaction() as tx:
        tx.execute(delete(STATEMENTS).where(STATEMENTS.c.kind == "image"))


def start(plane: ControlPlane, data: bytes, image: str) -> str:
    stores = plane.platform.stores
    run = request_run(stores, data, arguments={}, environment="dataops", by="ann")
    return image_to_start(stores, RunContext(run, "dataops", "in-images", "ann", "go"), image)


def verified(plane: ControlPlane, reference: str = "in-images@1.0.0") -> Findings:
    stores = plane.platform.stores
    [artifact] = find_artifacts(stores, reference)
    pin = load_or_create_key(stores.root / KEYS).public.text
    told = json.loads(json.dumps(artifact.to_json()["proof"]))  # as a client gets it
    return examine(proof_from_json(told), artifact.digest, subject=artifact.subject, pin=pin)


def test_what_was_found_is_signed_and_shown(
    plane: ControlPlane, image: str, published: tuple[bytes, str]
) -> None:
    data, digest = published
    assert start(plane, data, image) == f"{image.removesuffix(':1')}@{TRUE}"
    findings = verified(plane)
    assert findings.holds, say(findings)
    [material] = [one.sentence for one in findings.steps if one.check == "material"]
    assert image in material and TRUE.removeprefix("sha256:")[:8] in material
    assert f"{image} stood for {TRUE}." in say(findings)
    rotate_key(plane.platform.stores, [], by="root")
    assert verified(plane).holds and start(plane, data, image).endswith(TRUE)
    # Also where only the bytes are known; and it proves no publication by itself.
    assert verified(plane, digest).holds
    with plane.platform.stores.db.transaction() as tx:
        tx.execute(delete(STATEMENTS).where(STATEMENTS.c.kind == "pipeline"))
    assert "not that these bytes were published" in say(verified(plane, digest))
    assert not verified(plane).holds


def test_a_rewritten_digest_is_refused_with_both(
    plane: ControlPlane, image: str, published: tuple[bytes, str]
) -> None:
    data, digest = published
    write(plane, digest, FALSE)
    refused = f"expected {TRUE}, found {FALSE}"
    with pytest.raises(DigestMismatch, match=refused):
        start(plane, data, image)
    with pytest.raises(DigestMismatch, match=refused):
        make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")
    with pytest.raises(DigestMismatch, match=refused):
        submit_pipeline(plane.platform, "in-images@1.0.0", arguments={}, by="ann")
    [failed] = [one for one in verified(plane).steps if one.outcome is Outcome.FAILS]
    assert failed.sentence == f"{image} is stated to be {TRUE}; the server has {FALSE}."


def test_what_was_taken_away_is_known_from_the_statement(
    plane: ControlPlane, image: str, published: tuple[bytes, str]
) -> None:
    data, digest = published
    write(plane, digest, None)
    assert start(plane, data, image).endswith(TRUE)
    made = make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")
    assert [pin.digest for pin in made.release.images] == [TRUE]
    assert [one.digest for one in list_images(plane.platform.stores, digest)] == [TRUE]


def test_what_nothing_states_starts_nothing_until_it_is_found_anew(
    plane: ControlPlane, image: str, published: tuple[bytes, str]
) -> None:
    data, digest = published
    write(plane, digest, FALSE)
    unstate(plane)
    with pytest.raises(Refused, match=f"is to start as {FALSE}, and no statement"):
        start(plane, data, image)
    assert "no statement says so" in say(verified(plane))
    made = make_release(plane.platform, "spring", [], ["in-images@1.0.0"], by="ann")
    assert [pin.digest for pin in made.release.images] == [TRUE]
    assert start(plane, data, image).endswith(TRUE)
    assert verified(plane).holds


def test_the_same_pipeline_in_a_loop_has_statements_of_its_own(
    plane: ControlPlane, image: str, published: tuple[bytes, str]
) -> None:
    data, digest = published
    looped = data + b"\n"
    inherit_images(plane.platform.stores, digest, digest_of(looped))
    assert start(plane, looped, image).endswith(TRUE)
    write(plane, digest_of(looped), FALSE)
    with pytest.raises(DigestMismatch):
        start(plane, looped, image)


def test_images_of_no_published_pipeline_are_the_engines(plane: ControlPlane, published) -> None:
    data, _ = published
    assert start(plane, data + b"# other\n", "python:3.11") == "python:3.11"
