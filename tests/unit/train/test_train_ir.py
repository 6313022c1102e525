"""Reading compiled IR: what is read, what is refused, and how errors point at their place."""

import json
from typing import NamedTuple

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir import FromInput, ParameterType
from seamline.train.ir_reader import read_pipeline
from seamline.train.plan import make_plan
from seamline.train.runs import check_pipeline
from seamline.train.sources import TaskOutput, describe

IMAGE = "python:3.11"


class SubOut(NamedTuple):
    model: Model
    rows: int


@dsl.component(base_image=IMAGE)
def train(rows: int, options: dict, model: Output[Model], rate: float = 0.5) -> int:
    return rows


@dsl.component(base_image=IMAGE)
def use(text: str, model: Input[Model] | None = None) -> str:
    return text


@dsl.component(base_image=IMAGE)
def echo(text: str) -> str:
    return text


@dsl.pipeline
def team(rows: int, note: str = "none") -> SubOut:
    trained = train(rows=rows, options={"depth": 3, "ratio": 0.5})
    use(model=trained.outputs["model"], text=f"{rows} rows, {trained.outputs['Output']} used")
    return SubOut(model=trained.outputs["model"], rows=trained.outputs["Output"])


@dsl.pipeline(name="whole-thing", description="Two teams.")
def whole(rows: int = 4, data: str = "datasets://flights") -> SubOut:
    imported = dsl.importer(artifact_uri=data, artifact_class=Dataset, metadata={"rows": rows})
    first = team(rows=rows)
    second = team(rows=first.outputs["rows"]).set_caching_options(False).after(imported)
    last = use(model=second.outputs["model"], text="end")
    last.ignore_upstream_failure().set_retry(2, backoff_duration="5s")
    return SubOut(model=second.outputs["model"], rows=second.outputs["rows"])


def test_nested_pipelines_flatten_into_path_names(compile_ir):
    plan = make_plan(read_pipeline(compile_ir(whole)))
    assert plan.pipeline.name == "whole-thing"
    assert plan.pipeline.description == "Two teams."
    assert set(plan.tasks) == {
        "importer", "team/train", "team/use", "team-2/train", "team-2/use", "use",
    }  # fmt: skip
    assert plan.output_artifacts == {"model": TaskOutput("team-2/train", "model")}
    assert plan.tasks["use"].artifacts == {"model": TaskOutput("team-2/train", "model")}
    assert plan.tasks["use"].gate.is_tolerant
    assert set(plan.gate_of("team-2").after) == {"importer", "team"}
    assert plan.tasks["team-2/train"].gate.group == "team-2"
    assert describe(plan.tasks["team-2/train"].parameters["rows"]) == "output Output of team/train"
    assert describe(plan.tasks["team/train"].parameters["rows"]) == "argument rows"
    retry = plan.tasks["use"].retry
    assert (retry.max_retries, retry.backoff_s) == (2, 5.0)


def test_types_defaults_and_optional_inputs(compile_ir):
    pipeline = read_pipeline(compile_ir(whole))
    rows = pipeline.root.parameters["rows"]
    assert (rows.type, rows.default, rows.is_optional) == (ParameterType.NUMBER_INTEGER, 4, True)
    assert type(rows.default) is int
    component = pipeline.components["comp-train"]
    assert component.parameters["options"].type is ParameterType.STRUCT
    assert component.parameters["rate"].default == 0.5
    assert pipeline.components["comp-use"].artifacts["model"].is_optional
    importer = pipeline.components["comp-importer"].body
    assert importer.uri == FromInput("uri")


def test_json_and_yaml_say_the_same(compile_ir):
    ir = compile_ir(whole)
    assert read_pipeline(json.dumps(yaml.safe_load(ir)).encode()) == read_pipeline(ir)


def test_dependencies_come_from_inputs_too(compile_ir):
    spec = yaml.safe_load(compile_ir(whole))
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("dependentTasks", None)
    plan = make_plan(read_pipeline(json.dumps(spec).encode()))
    assert plan.gate_of("team-2").after == ("team",)
    assert plan.gate_of("team/use").after == ("team/train",)


# -- not IR ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{a: [1, 2", "neither YAML nor JSON"),
        (b"\xff\xfe\x00", "neither YAML nor JSON"),
        (b"just text", "one YAML object"),
        (b"", "one YAML object"),
        (b"a: 1\n---\nb: 2\n---\nc: 3\n", "3 document"),
        (b"name: x\nsteps: []\n", "no schemaVersion and no pipelineInfo and no root"),
        (b"a: !!python/object/apply:os.system [x]", "neither YAML nor JSON"),
        (b"a: 2024-01-01", "a is a date"),
        (b"a: &a [1, 2]\nb: {1: 2}", "the key 1"),
    ],
)
def test_what_is_not_ir_is_refused(data, said):
    with pytest.raises(InvalidInput, match=said):
        read_pipeline(data)


def test_a_yaml_bomb_is_refused():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(InvalidInput, match="too large"):
        read_pipeline("\n".join(lines).encode())


def changed(ir: bytes, path: str, value: object) -> bytes:
    """The IR with one value replaced; `path` is separated by slashes."""
    spec = yaml.safe_load(ir)
    *parents, last = path.split("/")
    at = spec
    for key in parents:
        at = at.setdefault(key, {})
    at[last] = value
    return json.dumps(spec).encode()


TASK = "root/dag/tasks/use"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schemaVersion", "1.0.0", "schemaVersion is '1.0.0'"),
        (f"{TASK}/componentRef/name", "comp-us", "Did you mean comp-use"),
        (f"{TASK}/dependentTasks", ["tean"], "'tean', which is not in this DAG.*Did you mean team"),
        (f"{TASK}/dependentTasks", ["use"], "cycle: use → use"),
        ("root/dag/tasks/team/dependentTasks", ["team-2"], "cycle"),
        (f"{TASK}/inputs/parameters/text", {}, "root.dag.tasks.use.inputs.parameters.text"),
        (f"{TASK}/triggerPolicy/strategy", "SOME", "strategy is 'SOME'"),
        ("root/dag/tasks/..%2F..", {}, "cannot be a name"),
        ("components/comp-use/executorLabel", "exec-no", "there is no such executor"),
        ("components/comp-use/inputDefinitions/parameters/text/parameterType", "STRIN", "STRING"),
        (f"{TASK}/inputs/artifacts/model/taskOutputArtifact/outputArtifactKey", "modl",
         "'modl' of 'team-2'.*Did you mean model"),
        ("root/dag/outputs/artifacts/model/artifactSelectors",
         [{"producerSubtask": "nobody", "outputArtifactKey": "model"}], "'nobody'"),
        (f"{TASK}/inputs/parameters", {}, "not given its input 'text'"),
        ("components/comp-team/dag/tasks/use/componentRef/name", "comp-team", "contains itself"),
        ("root/dag", {"tasks": {}}, "no tasks"),
        ("deploymentSpec/executors/exec-importer/importer/artifactUri/runtimeParameter", "url",
         "takes its URI from 'url'"),
        ("deploymentSpec/executors/exec-use/container/args", ["x"], "without --function_to_exec"),
    ],
)  # fmt: skip
def test_broken_ir_names_its_place(compile_ir, path, value, said):
    with pytest.raises(InvalidInput, match=said):
        check_pipeline(changed(compile_ir(whole), path, value))


def test_requirements_are_checked_before_anything_runs(compile_ir):
    @dsl.component(base_image=IMAGE, packages_to_install=["numpy >>> 2"])
    def odd() -> int:
        return 1

    with pytest.raises(InvalidInput, match=r"Task 'odd'.*'numpy >>> 2' is not a requirement"):
        check_pipeline(compile_ir(odd))


# -- not supported yet -----------------------------------------------------------------------


@dsl.pipeline
def conditional(text: str):
    with dsl.If(text == "x"):
        echo(text=text)


@dsl.pipeline
def one_of(text: str) -> str:
    with dsl.If(text == "x"):
        a = echo(text="a")
    with dsl.Else():
        b = echo(text="b")
    return dsl.OneOf(a.output, b.output)


@dsl.pipeline
def looping():
    with dsl.ParallelFor(["a", "b"]) as item:
        echo(text=item)


@dsl.component(base_image=IMAGE)
def report(status: dsl.PipelineTaskFinalStatus):
    print(status)


@dsl.pipeline
def exiting():
    last = report()
    with dsl.ExitHandler(last):
        echo(text="x")


@dsl.container_component
def shell():
    return dsl.ContainerSpec(image="busybox", command=["echo"], args=["x"])


@dsl.pipeline
def accelerated():
    echo(text="x").set_accelerator_type("NVIDIA").set_accelerator_limit(1)


@dsl.component(base_image=IMAGE)
def use_all(models: Input[list[Model]]) -> int:
    return len(models)


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        (conditional, r"'condition-1' uses a condition"),
        (one_of, r"OneOf|condition"),
        (looping, r"'for-loop-\d' uses a loop \(dsl.ParallelFor\)"),
        (exiting, r"TASK_FINAL_STATUS|final status"),
        (shell, r"Task 'shell' uses a container that is not a lightweight Python component"),
        (accelerated, r"Task 'echo' uses an accelerator"),
        (use_all, r"a list of artifacts"),
    ],
)
def test_unsupported_features_are_refused_by_name(compile_ir, pipeline, said):
    with pytest.raises(Refused, match=f"(?s){said}.*not supported yet"):
        check_pipeline(compile_ir(pipeline))


def with_platform(ir: bytes, setting: dict) -> bytes:
    platform = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-use": setting}}}}
    }
    return ir + b"\n---\n" + yaml.safe_dump(platform).encode()


def test_the_platform_document_is_honoured_noted_or_refused(compile_ir):
    ir = compile_ir(whole)
    read = read_pipeline(with_platform(ir, {"activeDeadlineSeconds": 30, "tolerations": [{}]}))
    assert read.components["comp-use"].body.timeout_s == 30.0
    assert read.notes == ("exec-use: tolerations has no effect on a single machine.",)
    with pytest.raises(Refused, match=r"Task 'use' uses the Kubernetes setting 'pvcMount'"):
        read_pipeline(with_platform(ir, {"pvcMount": [{"mountPath": "/x"}]}))


def test_limits_that_are_not_enforced_are_noted(compile_ir):
    @dsl.pipeline
    def limited():
        echo(text="x").set_memory_limit("1G").set_env_variable("MODE", "fast")

    plan = check_pipeline(compile_ir(limited))
    assert "not enforced" in plan.pipeline.notes[0]
    assert plan.tasks["echo"].executor.env == {"MODE": "fast"}
