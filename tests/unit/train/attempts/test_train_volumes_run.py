"""Volumes, secrets as files and the run's workspace in real runs: paths that only tasks see."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl
from sqlalchemy import update

from seamline.domain.errors import Refused
from seamline.domain.states import RunState, TaskState
from seamline.runtime.mounts import LINK
from seamline.store.stores import Stores
from seamline.train.attempts.volumes import write_secret_files
from seamline.train.engine.engine import Engine
from seamline.train.options import Isolation, RunOptions
from seamline.train.rows import RUNS, TASKS
from seamline.train.runs import request_run
from seamline.trust.secrets import SecretKind, set_values

#: A path that no machine has.
TOP = "/seamline-test-volume"


@dsl.component(base_image="python:3.11")
def write(path: str, text: str) -> str:
    from pathlib import Path

    Path(path).write_text(text)
    return path


@dsl.component(base_image="python:3.11")
def read(path: str, after: str = "") -> str:
    from pathlib import Path

    return Path(path).read_text()


@dsl.pipeline
def pass_on(path: str):
    written = write(path=path, text="kept").set_caching_options(False)
    read(path=path, after=written.output).set_caching_options(False)


@dsl.pipeline
def look(path: str) -> str:
    return read(path=path).set_caching_options(False).output


def on_kubernetes(ir: bytes, **executors: Any) -> bytes:
    """With a platform document, as the kfp-kubernetes package writes it."""
    settings = {f"exec-{name}": setting for name, setting in executors.items()}
    spec = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": settings}}}}
    return ir + b"\n---\n" + yaml.safe_dump(spec).encode()


def claim(path: str, name: str = "data", **more: Any) -> dict[str, Any]:
    return {"pvcMount": [{"constant": name, "mountPath": path, **more}]}


@pytest.fixture(autouse=True)
def mounts_are_allowed(house: Any) -> None:
    if house.engine.machine.mount_ability(None) == LINK:
        pytest.skip("this machine lets no task have mounts of its own")


def test_a_volume_is_kept_between_tasks_and_runs(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    both = on_kubernetes(compile_ir(pass_on), write=claim(TOP), read=claim(TOP))
    ran = house.run(both, path=f"{TOP}/out")
    assert ran["state"] == "succeeded", ran
    volume = house.stores.root / "volumes" / "dataops" / "data"
    assert (volume / "out").read_text() == "kept"
    assert not Path(TOP).exists()
    later = on_kubernetes(compile_ir(look), read=claim("/srv/elsewhere/data", subPath=""))
    assert house.run(later, path="/srv/elsewhere/data/out")["state"] == "succeeded"


def test_two_volumes_at_one_path_at_the_same_time(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    ir = compile_ir(pass_on)
    runs = [
        house.request(
            on_kubernetes(ir, write=claim(TOP, name), read=claim(TOP, name)), path=f"{TOP}/{name}"
        )
        for name in ("one", "two")
    ]
    for run in runs:
        assert house.finish(run)["state"] == "succeeded"
    volumes = house.stores.root / "volumes" / "dataops"
    for name in ("one", "two"):
        assert [path.name for path in (volumes / name).iterdir()] == [name]


def test_a_container_has_the_same_volume(
    house: Any, compile_ir: Callable[..., bytes], plain_image: str
) -> None:
    @dsl.container_component
    def put(text: str):
        return dsl.ContainerSpec(
            image=plain_image,
            command=["sh", "-c", f'cat {TOP}/in > {TOP}/out; echo "$0" >> {TOP}/out'],
            args=[text],
        )

    @dsl.pipeline
    def in_container(path: str):
        written = write(path=f"{TOP}/in", text="forked, ")
        put(text="contained").after(written).set_caching_options(False)

    ran = house.run(
        on_kubernetes(compile_ir(in_container), write=claim(TOP), put=claim(TOP)), path=""
    )
    assert ran["state"] == "succeeded", ran
    volume = house.stores.root / "volumes" / "dataops" / "data"
    assert (volume / "out").read_text() == "forked, contained\n"


def test_secrets_as_files_go_with_the_attempt(house: Any, compile_ir: Callable[..., bytes]) -> None:
    set_values(house.stores, "dataops", SecretKind.SECRET, "tls", {"key": b"hush-hush"}, by="ada")
    secret = {"secretAsVolume": [{"secretName": "tls", "mountPath": "/etc/seamline-test"}]}
    ir = on_kubernetes(compile_ir(look), read=secret)
    ran = house.run(ir, path="/etc/seamline-test/key")
    assert ran["state"] == "succeeded", ran
    left = [p for p in (house.stores.root / "runs" / ran["id"]).rglob("key") if p.is_file()]
    assert left == []
    refused = house.run(ir, path="/etc/seamline-test/none")
    assert refused["state"] == "failed"


def test_secrets_of_an_attempt_that_was_lost_are_removed(
    stores: Stores, warm: Any, compile_ir: Callable[..., bytes]
) -> None:
    """By whoever comes after a server that was killed."""
    run = request_run(
        stores, compile_ir(look), arguments={"path": "x"}, environment="dataops", by="ana"
    )
    with stores.db.transaction() as tx:
        tx.execute(update(RUNS).values(state=RunState.RUNNING))
        tx.execute(update(TASKS).values(state=TaskState.RUNNING, attempt=1))
    folder = write_secret_files(
        stores.root / "runs" / run / "read" / "1", SecretKind.SECRET, "tls", {"key": b"hush"}
    )
    engine = Engine(stores, *warm, lambda uri, context: pytest.fail(uri))
    engine.recover()
    engine.close()
    assert not folder.exists()


def test_a_reused_worker_is_not_used_for_a_task_with_volumes(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    ir = on_kubernetes(compile_ir(pass_on), write=claim(TOP))
    ran = house.run(ir, RunOptions(isolation=Isolation.REUSE), path=f"{TOP}/out")
    by_name = {task["name"]: task for task in ran["tasks"]}
    assert (by_name["write"]["state"], by_name["write"]["fidelity"]) == ("succeeded", "forked")
    assert by_name["read"]["state"] == "failed", "the other task has no such volume"


def test_a_path_that_cannot_be_is_refused_when_it_is_submitted(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    with pytest.raises(Refused, match=r"read.*would hide /etc"):
        request_run(
            house.stores,
            on_kubernetes(compile_ir(look), read=claim("/etc")),
            arguments={"path": "x"},
            environment="dataops",
            by="ana",
            machine=house.engine.machine,
        )


def test_a_workspace_is_shared_and_goes_with_a_run_that_succeeded(
    house: Any, compile_ir: Callable[..., bytes]
) -> None:
    @dsl.pipeline(pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
    def shared(fails: bool):
        written = write(path=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/out", text="shared")
        again = read(path=f"{dsl.WORKSPACE_PATH_PLACEHOLDER}/out", after=written.output)
        with dsl.If(fails == True):  # noqa: E712
            read(path="/no/such/file", after=again.output)

    ir = compile_ir(shared)
    bad = house.run(ir, fails=True)
    assert bad["state"] != "succeeded"
    good = house.run(ir, RunOptions(enable_cache=False), fails=False)
    assert good["state"] == "succeeded", good
    house.engine.close()  # What follows a run's end is done now.
    runs = house.stores.root / "runs"
    assert not (runs / good["id"] / ".workspace").exists()
    assert (runs / bad["id"] / ".workspace" / "out").read_text() == "shared"
