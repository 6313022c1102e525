"""A task starts the image that was found when its pipeline was published, wherever tags move.

By the real parts: Debian's docker-registry, podman, and a control plane with its engine.
"""

# No postponed annotations here: the KFP SDK reads those of its components.
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

from seamline.app.register.resolve_images import image_to_start, list_images
from seamline.app.train.scenarios import submit_scenarios
from seamline.app.train.submit_run import submit_ir, submit_pipeline
from seamline.domain.errors import Refused
from seamline.domain.settings import Settings
from seamline.domain.states import is_terminal
from seamline.promote.environments import apply_policies, live_release
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.runtime.container_engine import ContainerEngine
from seamline.server import ControlPlane, running
from seamline.train.context import RunContext
from seamline.train.runs import read_log, request_run, run_state, show_run
from seamline.train.views.training import find_training

ImportImage = Callable[..., AbstractContextManager[str]]
PATIENCE_S = 120.0
OLD, NEW = "sha256:" + "a1" * 32, "sha256:" + "b2" * 32


def compiled(tmp_path: Path, image: str, name: str = "speaks") -> bytes:
    @dsl.container_component
    def speak():
        return dsl.ContainerSpec(image=image, command=["sh", "-c", 'echo "I am $WHICH"'])

    @dsl.pipeline(name=name)
    def pipeline(day: str = "monday"):
        speak().set_caching_options(True)

    path = tmp_path / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_bytes()


@dataclass
class Registry:
    """Debian's docker-registry, which can be ended and started again with all that it holds."""

    folder: Path
    engine: ContainerEngine
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("docker-registry")
        if program is None:
            pytest.skip("docker-registry is not installed here (Debian: docker-registry)")
        settings = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "store")}},
            "http": {"addr": self.address},
        }
        (self.folder / "config.yml").write_text(json.dumps(settings))
        words = [program, "serve", str(self.folder / "config.yml")]
        self.process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        while self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                continue
            return
        raise AssertionError("the registry has ended")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def push(self, local: str, name: str) -> None:
        """Under this name, and gone from this machine: whoever wants it has to pull it."""
        reference = f"{self.address}/{name}"
        self.engine_does("tag", local, reference)
        self.engine_does("push", "--tls-verify=false", reference)
        self.engine_does("rmi", reference)

    def engine_does(self, *words: str) -> str:
        program = [str(self.engine.program), *words]
        done = subprocess.run(
            program, env=self.engine.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


@pytest.fixture
def registry(
    tmp_path: Path, container_engine: ContainerEngine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry]:
    # Bound and not listened at until the test has ended: nobody else is given this port.
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    made = Registry(tmp_path, container_engine, kept.getsockname()[1])
    # How a person tells podman that this registry speaks plain http.
    config = tmp_path / "home" / ".config" / "containers"
    config.mkdir(parents=True)
    said = f'[[registry]]\nlocation = "{made.address}"\ninsecure = true\n'
    (config / "registries.conf").write_text(said)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield made
    made.stop()
    kept.close()
    ids = made.engine_does("images", "--quiet", "--filter", f"reference={made.address}/*/*")
    for one in sorted(set(ids.split())):
        made.engine_does("rmi", "--force", one)


@pytest.fixture
def images(
    import_image: ImportImage, container_engine: ContainerEngine, plain_tar: Path
) -> Iterator[dict[str, str]]:
    """Which → an image whose tasks say that they are it."""
    with (
        import_image(container_engine, plain_tar, "--change", "ENV WHICH=old") as old,
        import_image(container_engine, plain_tar, "--change", "ENV WHICH=new") as new,
    ):
        yield {"old": old, "new": new}


@contextmanager
def server(tmp_path: Path) -> Iterator[ControlPlane]:
    with running(Settings(workspace=tmp_path / "workspace"), with_schedules=False) as plane:
        yield plane


def finish(plane: ControlPlane, run_id: str) -> dict[str, Any]:
    """The task that speaks, once its run has ended well; with what it said."""
    stores = plane.platform.stores
    over = plane.platform.changes.wait_until(
        lambda: is_terminal(run_state(stores, run_id)), PATIENCE_S
    )
    shown = show_run(stores, run_id)
    assert over and shown["state"] == "succeeded", shown["sentence"]
    [task] = [one for one in shown["tasks"] if one["kind"] == "container"]
    return {**task, "said": read_log(stores, run_id, task["name"])["text"]}


def settle(plane: ControlPlane, digest: str) -> None:
    """Until the images of a pipeline have been looked up."""
    stores = plane.platform.stores
    assert plane.platform.changes.wait_until(lambda: bool(list_images(stores, digest)), PATIENCE_S)


def test_a_tag_that_moves_after_publishing_moves_no_task(
    tmp_path: Path, registry: Registry, images: dict[str, str]
) -> None:
    registry.start()
    registry.push(images["old"], "team/train:1")
    with server(tmp_path) as plane:
        stores = plane.platform.stores
        data = compiled(tmp_path, f"{registry.address}/team/train:1")
        digest = publish_pipeline(stores, data, ["1.0.0"], by="ann").digest
        settle(plane, digest)
        [found] = list_images(stores, digest)
        registry.push(images["new"], "team/train:1")
        run = submit_pipeline(plane.platform, "speaks@1.0.0", arguments={}, by="ann")
        task = finish(plane, run)
        assert task["image"] == f"{registry.address}/team/train@{found.digest}"
        assert task["image_digest"].startswith("sha256:") and "I am old" in task["said"]
        used = find_training(stores, run, digest, task["name"]).components
        assert [one.image_digest for one in used] == [found.digest]
        # In a loop over scenarios it has other bytes, and the same images.
        listed = {"list": [{"day": "tuesday"}]}
        many = submit_scenarios(plane.platform, data, listed, arguments={}, by="ann")
        assert finish(plane, many)["image"] == task["image"]
        # What is published now finds the tag where it is; the old result is none of its own.
        other = compiled(tmp_path, f"{registry.address}/team/train:1", "speaks-anew")
        settle(plane, publish_pipeline(stores, other, ["1.0.0"], by="ann").digest)
        anew = submit_pipeline(plane.platform, "speaks-anew@1.0.0", arguments={}, by="ann")
        task = finish(plane, anew)
        assert task["state"] == "succeeded" and "I am new" in task["said"]
        # And the same again is a result that is known, of the same image.
        again = finish(
            plane, submit_pipeline(plane.platform, "speaks-anew@1.0.0", arguments={}, by="ann")
        )
        assert (again["state"], again["image"]) == ("skipped", task["image"])


def test_what_publishing_could_not_find_a_run_finds(
    tmp_path: Path, registry: Registry, images: dict[str, str]
) -> None:
    with server(tmp_path) as plane:
        stores = plane.platform.stores
        data = compiled(tmp_path, f"{registry.address}/team/train:1")
        digest = publish_pipeline(stores, data, ["1.0.0"], by="ann").digest
        settle(plane, digest)
        assert [one.digest for one in list_images(stores, digest)] == [None]
        registry.start()
        registry.push(images["old"], "team/train:1")
        first = submit_pipeline(plane.platform, "speaks@1.0.0", arguments={}, by="ann")
        registry.push(images["new"], "team/train:1")
        assert "I am old" in finish(plane, first)["said"]
        # Nobody pinned what is only submitted: the engine says what the name stands for.
        loose = compiled(tmp_path, images["new"], "loose")
        task = finish(plane, submit_ir(plane.platform, loose, arguments={}, by="ann"))
        assert task["image"] == images["new"] and "I am new" in task["said"]
        assert task["image_digest"] in registry.engine_does(
            "image", "inspect", "--format", "sha256:{{.Id}}", images["new"]
        )


def release(plane: ControlPlane, alias: str, pipeline: bytes, *digests: str) -> None:
    """Live in development, with these images."""
    stores = plane.platform.stores
    gates = ("digests",)
    plain = [replace(one, gates=gates, soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    pinned = (Pin("speaks", "1.0.0", str(stores.blobs.put(pipeline))),)
    images = tuple(Pin("registry.example/team/train", "1", digest) for digest in digests)
    made = record_release(stores, Release(pipelines=pinned, images=images), alias, by="ann")
    request_promotion(stores, made.digest, "development", by="ann")
    while plane.loop.step():
        pass
    with stores.db.read() as connection:
        live = live_release(connection, "development")
    assert live is not None and live.digest == made.digest


def starts(plane: ControlPlane, pipeline: bytes, image: str, environment: str) -> str:
    """For this image, a task of a run of the pipeline."""
    stores = plane.platform.stores
    run = request_run(stores, pipeline, arguments={}, environment=environment, by="ann")
    context = RunContext(run, environment, "speaks", "ann", "speak")
    return image_to_start(stores, context, image)


def test_outside_dataops_only_the_releases_images_start(
    plane: ControlPlane, tmp_path: Path
) -> None:
    image = f"registry.example/team/train@{OLD}"
    pipeline = compiled(tmp_path, image)
    release(plane, "spring", pipeline, OLD)
    assert starts(plane, pipeline, image, "development") == image
    for other, why in (
        ("registry.example/team/train:1", "it has no digest"),
        (f"registry.example/team/train@{NEW}", "the live release does not hold it"),
    ):
        assert starts(plane, pipeline, other, "dataops") == other
        with pytest.raises(Refused, match=f"cannot run in development: {why}"):
            starts(plane, pipeline, other, "development")


def test_a_run_that_an_earlier_release_admitted_goes_on(
    plane: ControlPlane, tmp_path: Path
) -> None:
    image = f"registry.example/team/train@{OLD}"
    pipeline = compiled(tmp_path, image)
    release(plane, "spring", pipeline, OLD)
    release(plane, "summer", compiled(tmp_path, image, "another"), NEW)
    assert starts(plane, pipeline, image, "development") == image
    with pytest.raises(Refused, match="it has no digest"):
        starts(plane, pipeline, "registry.example/team/train:1", "development")
