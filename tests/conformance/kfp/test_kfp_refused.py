"""What cannot be: refused at submission, by task and feature; or a failed task that says why."""

import json
import os
from typing import List

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, Refused, SeamlineError
from seamline.train.runs import list_runs

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def wait(path: str) -> str:
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.005)
    return "seen"


@dsl.pipeline
def plain(text: str = "a") -> str:
    return say(text=say(text=text).output).output


@pytest.fixture
def spec(bench) -> dict:
    """A compiled pipeline, to be spoilt."""
    return yaml.safe_load(bench.compile(plain))


def refusal(bench, spec: dict | bytes, kind: type[SeamlineError] = SeamlineError) -> str:
    """The message; nothing is recorded of a run that is refused."""
    ir = spec if isinstance(spec, bytes) else yaml.safe_dump(spec).encode()
    before = len(list_runs(bench.stores, limit=10_000))
    with pytest.raises(kind) as refused:
        bench.run(ir)
    assert len(list_runs(bench.stores, limit=10_000)) == before
    assert refused.value.next_step
    return refused.value.message


@feature("Refused", "Resolvers and Vertex custom jobs, by task and feature", status="refused")
@pytest.mark.parametrize(
    ("executor", "said"),
    [
        ({"resolver": {"outputArtifactQueries": {}}}, "resolver"),
        ({"customJob": {"customJob": {"displayName": "x"}}}, "custom"),
        ({"somethingNew": {"x": 1}}, "somethingNew"),
        ({}, "say"),
    ],
)
def test_kfp_unsupported_executors(bench, spec, executor, said):
    spec["deploymentSpec"]["executors"]["exec-say-2"] = executor
    message = refusal(bench, spec)
    assert "say-2" in message and said in message.replace("_", "").replace("custom job", "custom")


@feature("Refused", "Lifecycle hooks of containers (preCacheCheck)", status="refused")
def test_kfp_lifecycle_hooks(bench, spec):
    container = spec["deploymentSpec"]["executors"]["exec-say"]["container"]
    container["lifecycle"] = {"preCacheCheck": {"command": ["true"]}}
    message = refusal(bench, spec, Refused)
    assert "say" in message and "preCacheCheck" in message


@feature("Refused", "Artifacts as arguments of a run", status="refused")
def test_kfp_artifacts_as_arguments(bench):
    @dsl.pipeline
    def needing(data: Input[Dataset]) -> str:
        return read(data=data).output

    assert "data" in refusal(bench, bench.compile(needing), Refused)


NOT_IR = {
    "nothing": b"",
    "text": b"hello",
    "list": b"- a\n",
    "another file": b"a: [1, 2]\n",
    "broken yaml": b"a: [1, 2\n",
    "binary": bytes(range(256)),
    "python": b"from kfp import dsl\nx: int = {\n",
    "python object": b"!!python/object/apply:os.system ['true']\n",
    "three documents": b"a: 1\n---\nb: 2\n---\nc: 3\n",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "v1": b"apiVersion: argoproj.io/v1alpha1\nkind: Workflow\n",
}


@feature("Refused", "Files that are no compiled pipeline", status="refused")
@pytest.mark.parametrize("name", NOT_IR)
def test_kfp_files_that_are_no_pipeline(bench, name):
    before = len(list_runs(bench.stores, limit=10_000))
    with pytest.raises(InvalidInput) as refused:
        bench.run(NOT_IR[name])
    assert "KFP SDK" in refused.value.next_step
    assert len(list_runs(bench.stores, limit=10_000)) == before


@feature("Refused", "Another schema version", status="refused")
@pytest.mark.parametrize("version", ["1.0.0", "3.0.0", "2", ""])
def test_kfp_another_schema_version(bench, spec, version):
    spec["schemaVersion"] = version
    message = refusal(bench, spec, InvalidInput)
    assert "schemaVersion" in message and version in message


@feature("Refused", "An unknown component, task, executor or output", status="refused")
@pytest.mark.parametrize("what", ["component", "executor", "upstream", "producer", "output"])
def test_kfp_unknown_names(bench, spec, what):
    task = spec["root"]["dag"]["tasks"]["say-2"]
    source = task["inputs"]["parameters"]["text"]["taskOutputParameter"]
    if what == "component":
        task["componentRef"]["name"] = wrong = "comp-sayy"
    elif what == "executor":
        spec["components"]["comp-say-2"]["executorLabel"] = wrong = "exec-say-3"
    elif what == "upstream":
        task["dependentTasks"] = [wrong := "sayy"]
    elif what == "producer":
        source["producerTask"] = wrong = "sayy"
    else:
        source["outputParameterKey"] = wrong = "Outptu"
    with pytest.raises(InvalidInput) as refused:
        bench.run(yaml.safe_dump(spec).encode())
    assert wrong in refused.value.message
    assert "Did you mean" in refused.value.next_step


@feature("Refused", "A cycle, with the tasks that are on it", status="refused")
def test_kfp_a_cycle(bench, spec):
    spec["root"]["dag"]["tasks"]["say"]["dependentTasks"] = ["say-2"]
    message = refusal(bench, spec, InvalidInput)
    assert "cycle" in message and "say" in message and "say-2" in message


@feature("Refused", "A pipeline that contains itself", status="refused")
def test_kfp_a_pipeline_that_contains_itself(bench):
    @dsl.pipeline
    def inner(text: str) -> str:
        return say(text=text).output

    @dsl.pipeline
    def outer(text: str = "a") -> str:
        return inner(text=text).output

    spec = yaml.safe_load(bench.compile(outer))
    spec["components"]["comp-inner"]["dag"]["tasks"]["say"]["componentRef"]["name"] = "comp-inner"
    assert "inner" in refusal(bench, spec, InvalidInput)


@feature("Refused", "Keys that nobody knows are not ignored", status="refused")
@pytest.mark.parametrize("place", ["task", "trigger", "container"])
def test_kfp_unknown_keys(bench, spec, place):
    task = spec["root"]["dag"]["tasks"]["say"]
    if place == "task":
        task["gangScheduling"] = {"size": 2}
        said = "gangScheduling"
    elif place == "trigger":
        task["triggerPolicy"] = {"strategy": "ANY_UPSTREAM_TASK_SUCCEEDED"}
        said = "ANY_UPSTREAM_TASK_SUCCEEDED"
    else:
        spec["deploymentSpec"]["executors"]["exec-say"]["container"]["gang"] = {"size": 2}
        said = "gang"
    assert said in refusal(bench, spec)


@feature("Refused", "A name that is no name (a path, a blank)", status="refused")
@pytest.mark.parametrize("name", ["../../escape", "a/b", "a b", "x" * 300])
def test_kfp_names_that_are_no_names(bench, spec, name):
    tasks = spec["root"]["dag"]["tasks"]
    tasks[name] = {**tasks["say"], "taskInfo": {"name": name}}
    assert name[:20] in refusal(bench, spec, InvalidInput)


@feature("Refused", "An artifact altered or gone on disk: both digests are named")
@pytest.mark.parametrize("how", ["altered", "gone"])
def test_kfp_an_altered_artifact(bench, tmp_path, how):
    @dsl.pipeline
    def guarded(gate: str):
        made = write(text=f"abc {tmp_path}")
        read(data=made.outputs["data"]).after(wait(path=gate))

    run_id = bench.request(guarded, {"gate": str(tmp_path / "gate")})
    digest = digest_of(f"abc {tmp_path}".encode())
    path = bench.stores.blobs.path_of(digest)
    bench.wait_until(path.exists)
    if how == "altered":
        path.unlink()
        path.write_bytes(b"altered")
    else:
        path.unlink()
    (tmp_path / "gate").touch()
    ran = bench.finish(run_id)
    assert ran.failed == {"read"}
    message = ran.error("read")["message"]
    assert digest in message
    assert how == "gone" or digest_of(b"altered") in message


@feature("Refused", "A requirement that cannot be installed: the installer's last lines")
def test_kfp_a_requirement_that_cannot_be_installed(bench, tmp_path):
    """Only that task fails; it has no process to begin with."""
    wheel = tmp_path / "broken_seam-1.0-py3-none-any.whl"
    wheel.write_bytes(b"no wheel")

    @dsl.component(base_image=IMAGE, packages_to_install=[f"broken-seam @ file://{wheel}"])
    def needs():
        pass

    @dsl.pipeline
    def needing():
        needs()
        say(text="independent")

    ran = bench.run(needing)
    assert ran.failed == {"needs"} and "say" in ran.executed
    error = json.dumps(ran.error("needs"))
    assert "broken-seam" in error or "broken_seam" in error
    assert ran.tasks["needs"]["pid"] is None


@feature("Refused", "A requirement that cannot be read", status="refused")
def test_kfp_a_requirement_that_cannot_be_read(bench):
    @dsl.component(base_image=IMAGE, packages_to_install=["numpy=>1"])
    def needs():
        pass

    @dsl.pipeline
    def needing():
        needs()

    message = refusal(bench, bench.compile(needing))
    assert "needs" in message and "numpy=>1" in message


@feature("Refused", "A log without end is bounded, and says so")
def test_kfp_a_log_without_end(bench):
    @dsl.component(base_image=IMAGE)
    def chatter(megabytes: int) -> str:
        line = "0123456789" * 99_999 + "012345678"
        for _ in range(megabytes):
            print(line)
        return "done"

    @dsl.pipeline
    def chatting() -> str:
        return chatter(megabytes=40).output

    ran = bench.run(chatting)
    assert ran.result == "done"
    path = bench.stores.root / "runs" / ran.id / "chatter" / "1" / "log.txt"
    assert 1_000_000 < path.stat().st_size < 20_000_000
    assert b"the log is full" in path.read_bytes()[-200:]


@feature("Refused", "What a task leaves running ends with it")
def test_kfp_children_that_stay(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def leave_children(path: str) -> int:
        import subprocess
        from pathlib import Path

        children = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
        Path(path).write_text(" ".join(str(child.pid) for child in children))
        return len(children)

    @dsl.pipeline
    def leaving(path: str) -> int:
        return leave_children(path=path).output

    path = tmp_path / "children"
    assert bench.run(leaving, {"path": str(path)}).result == 3

    def all_ended() -> bool:
        return not any(is_running(int(pid)) for pid in path.read_text().split())

    bench.wait_until(all_ended)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@feature("Refused", "A run that demands containers where there are none", status="refused")
def test_kfp_a_demanded_fidelity(bench):
    from seamline.domain.states import Fidelity

    with pytest.raises(Refused, match=r"say[\s\S]*container"):
        bench.run(plain, demand_fidelity=Fidelity.CONTAINER)
    assert bench.run(plain, demand_fidelity=Fidelity.FORKED).state == "succeeded"


@feature("Refused", "A loop that does not make what it declares to")
@pytest.mark.parametrize("kind", ["parameters", "artifacts"])
def test_kfp_a_loop_without_its_output(bench, kind):
    """Refused, or a failed run; other runs go on."""

    @dsl.component(base_image=IMAGE)
    def count(texts: list = [], parts: Input[List[Dataset]] = None) -> int:
        return len(texts or parts)

    @dsl.pipeline
    def looping():
        with dsl.ParallelFor(["a", "b"]) as text:
            said = say(text=text)
            made = write(text=said.output)
        if kind == "parameters":
            count(texts=dsl.Collected(said.output))
        else:
            count(parts=dsl.Collected(made.outputs["data"]))

    spec = yaml.safe_load(bench.compile(looping))
    del spec["components"]["comp-for-loop-2"]["dag"]["outputs"][kind]
    try:
        ran = bench.run(yaml.safe_dump(spec).encode())
    except InvalidInput as refused:
        assert "for-loop-2" in refused.message
    else:
        assert ran.state in ("failed", "partially_failed") and "count" not in ran.executed
    assert bench.run(plain).state == "succeeded"
