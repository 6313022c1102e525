"""Reading compiled IR: every feature that the SDK can compile, into frozen values."""

import json
from typing import NamedTuple, Optional

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from seamline.train.ir.reader import read_pipeline
from seamline.train.ir.types import (
    Constant,
    ContainerExecutor,
    FinalStatus,
    FromInput,
    FromTask,
    Loop,
    ParameterType,
    Resources,
)

IMAGE = "python:3.11"


class SubOut(NamedTuple):
    model: Model
    rows: int


@dsl.component(base_image=IMAGE)
def train(rows: int, options: dict, model: Output[Model], rate: float = 0.5) -> int:
    return rows


@dsl.component(base_image=IMAGE)
def use(text: str, model: Optional[Input[Model]] = None) -> str:  # noqa: UP045
    return text


@dsl.component(base_image=IMAGE)
def echo(text: str = "") -> str:
    return text


@dsl.component(base_image=IMAGE)
def numbers() -> list[int]:
    return [1]


@dsl.component(base_image=IMAGE)
def count(n: int) -> int:
    return n


@dsl.component(base_image=IMAGE)
def total(ns: list[int]) -> int:
    return sum(ns)


@dsl.component(base_image=IMAGE)
def use_all(models: Input[list[Model]]) -> int:
    return len(models)


@dsl.component(base_image=IMAGE)
def report(status: dsl.PipelineTaskFinalStatus, text: str = ""):
    print(status)


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
    last = use(model=second.outputs["model"], text="end").set_display_name("The end")
    last.ignore_upstream_failure().set_retry(2, backoff_duration="5s")
    last.set_caching_options(True, cache_key="k")
    return SubOut(model=second.outputs["model"], rows=second.outputs["rows"])


def read(compile_ir, pipeline):
    return read_pipeline(compile_ir(pipeline))


def root_tasks(compile_ir, pipeline):
    return read(compile_ir, pipeline).root.body.tasks


def test_the_pipeline_and_its_tasks(compile_ir):
    pipeline = read(compile_ir, whole)
    assert (pipeline.name, pipeline.description, pipeline.notes) == (
        "whole-thing", "Two teams.", (),
    )  # fmt: skip
    dag = pipeline.root.body
    assert set(dag.tasks) == {"importer", "team", "team-2", "use"}
    assert set(dag.tasks["team-2"].after) == {"importer", "team"}
    assert dag.tasks["team-2"].parameters["rows"] == FromTask("team", "rows")
    assert (dag.tasks["team"].enable_cache, dag.tasks["team-2"].enable_cache) == (True, False)
    last = dag.tasks["use"]
    assert last.artifacts == {"model": FromTask("team-2", "model")}
    assert (last.ignores_upstream_failure, last.cache_key, last.display_name) == (
        True, "k", "The end",
    )  # fmt: skip
    assert dag.tasks["team"].display_name == "team"
    retry = last.retry
    assert (retry.max_retries, retry.backoff_s, retry.backoff_factor) == (2, 5.0, 2.0)
    assert dag.artifacts == {"model": (FromTask("team-2", "model"),)}
    assert dag.parameters == {"rows": (FromTask("team-2", "rows"),)}
    inner = pipeline.components["comp-team"].body.tasks["use"]
    assert inner.parameters["text"] == Constant(
        "{{$.inputs.parameters['pipelinechannel--rows']}} rows, "
        "{{$.inputs.parameters['pipelinechannel--train-Output']}} used"
    )
    assert inner.parameters["pipelinechannel--train-Output"] == FromTask("train", "Output")


def test_types_defaults_and_optional_inputs(compile_ir):
    pipeline = read(compile_ir, whole)
    rows = pipeline.root.parameters["rows"]
    assert (rows.type, rows.default, rows.is_optional) == (ParameterType.NUMBER_INTEGER, 4, True)
    assert type(rows.default) is int
    component = pipeline.components["comp-train"]
    assert component.parameters["options"].type is ParameterType.STRUCT
    assert component.parameters["rate"].default == 0.5
    assert pipeline.components["comp-use"].artifacts["model"].is_optional
    importer = pipeline.components["comp-importer"].body
    assert importer.uri == FromInput("uri")
    assert importer.metadata == {"rows": "{{$.inputs.parameters['metadata']}}"}


def test_json_and_yaml_and_what_clients_wrap_say_the_same(compile_ir):
    ir = compile_ir(whole)
    spec, expected = yaml.safe_load(ir), read_pipeline(ir)
    assert read_pipeline(json.dumps(spec).encode()) == expected
    assert read_pipeline(json.dumps({"pipeline_spec": spec}).encode()) == expected
    manifest = [
        {"apiVersion": "pipelines.kubeflow.org/v2beta1", "kind": "Pipeline", "metadata": {}},
        {"kind": "PipelineVersion", "metadata": {}, "spec": {"pipelineSpec": spec}},
    ]
    assert read_pipeline(yaml.safe_dump_all(manifest).encode()) == expected


def test_a_component_alone_is_a_pipeline_of_one_task(compile_ir):
    pipeline = read(compile_ir, train)
    assert set(pipeline.root.body.tasks) == {"train"}
    assert pipeline.root.parameters["rows"].type is ParameterType.NUMBER_INTEGER
    assert pipeline.root.body.artifacts == {"model": (FromTask("train", "model"),)}


def test_dependencies_come_from_inputs_too(compile_ir):
    spec = yaml.safe_load(compile_ir(whole))
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("dependentTasks", None)
    pipeline = read_pipeline(json.dumps(spec).encode())
    assert pipeline.root.body.tasks["team-2"].after == ("team",)
    assert pipeline.components["comp-team"].body.tasks["use"].after == ("train",)


# -- conditions --------------------------------------------------------------------------------
@dsl.pipeline
def branching(text: str, n: int) -> str:
    made = count(n=n)
    with dsl.If(made.output > 3, name="many"):
        a = echo(text="a")
    with dsl.Elif(text == "it's"):
        a2 = echo(text=text)
    with dsl.Else():
        b = echo(text="b")
    return dsl.OneOf(a.output, a2.output, b.output)


def test_conditions_and_one_of_several_outputs(compile_ir):
    pipeline = read(compile_ir, branching)
    group = pipeline.root.body.tasks["condition-branches-1"]
    assert group.after == ("count",)
    branches = pipeline.components["comp-condition-branches-1"].body
    condition = branches.tasks["condition-2"].condition
    assert condition.text == "int(inputs.parameter_values['pipelinechannel--count-Output']) > 3"
    assert branches.tasks["condition-2"].display_name == "many"
    assert branches.tasks["condition-3"].condition.text.endswith(
        " && inputs.parameter_values['pipelinechannel--text'] == 'it's'"
    )
    (sources,) = branches.parameters.values()
    assert [source.task for source in sources] == ["condition-2", "condition-3", "condition-4"]
    assert pipeline.root.body.parameters["Output"][0].task == "condition-branches-1"
    inner = pipeline.components["comp-condition-2"]
    # The compiler only guesses the types of what it passes into branches.
    assert inner.parameters["pipelinechannel--count-Output"].type is ParameterType.ANY


@dsl.pipeline
def choosing(text: str) -> Model:
    with dsl.If(text == "x"):
        a = train(rows=1, options={})
    with dsl.Else():
        b = train(rows=2, options={})
    return dsl.OneOf(a.outputs["model"], b.outputs["model"])


def test_one_of_several_artifacts(compile_ir):
    branches = read(compile_ir, choosing).components["comp-condition-branches-1"].body
    (sources,) = branches.artifacts.values()
    assert [source.task for source in sources] == ["condition-2", "condition-3"]


# -- loops -------------------------------------------------------------------------------------
@dsl.pipeline
def collecting() -> list[Model]:
    with dsl.ParallelFor([1, 2]) as n:
        made = train(rows=n, options={})
    return dsl.Collected(made.outputs["model"])


@dsl.pipeline
def looping(names: list[str], tables: list[dict[str, int]]):
    with dsl.ParallelFor([{"a": 1, "b": [1, 2.5]}], parallelism=3) as item:
        counted = count(n=item.a)
        with dsl.ParallelFor(item.b) as inner:
            count(n=inner)
    total(ns=dsl.Collected(counted.output))
    with dsl.ParallelFor(names) as name:
        echo(text=name)
    with dsl.ParallelFor(tables) as table:
        count(n=table.rows)
    with dsl.ParallelFor(numbers().output) as number:
        made = train(rows=number, options={})
    use_all(models=dsl.Collected(made.outputs["model"]))
    with dsl.ParallelFor(collecting().output) as model:
        use(text="x", model=model)


def test_loops_over_constants_parameters_outputs_and_artifacts(compile_ir):
    pipeline = read(compile_ir, looping)
    tasks = pipeline.root.body.tasks
    item = "pipelinechannel--loop-item-param-1"
    assert tasks["for-loop-2"].loop == Loop(
        Constant([{"a": 1, "b": [1, 2.5]}]), item, parallelism=3
    )
    inner = pipeline.components["comp-for-loop-2"].body.tasks
    assert inner["count"].parameters["n"].name == item
    assert inner["count"].parameters["n"].part.text == 'parseJson(string_value)["a"]'
    nested = inner["for-loop-3"]
    assert nested.loop.items == FromInput(f"{item}-subvar-b")
    assert nested.parameters[f"{item}-subvar-b"].part.text == 'parseJson(string_value)["b"]'
    assert nested.loop.parallelism == 0
    assert tasks["total"].parameters["ns"] == FromTask(
        "for-loop-2", "pipelinechannel--count-Output"
    )
    assert tasks["total"].after == ("for-loop-2",)
    over_names = next(t for t in tasks.values() if "pipelinechannel--names" in t.parameters)
    assert over_names.loop.items == FromInput("pipelinechannel--names")
    over_output = next(t for t in tasks.values() if t.after == ("numbers",))
    assert over_output.loop.items == FromInput("pipelinechannel--numbers-Output")
    over_models = next(t for t in tasks.values() if t.after == ("collecting",))
    assert over_models.loop.is_over_artifacts
    assert over_models.artifacts == {over_models.loop.items.name: FromTask("collecting", "Output")}
    assert pipeline.components["comp-use-all"].artifacts["models"].is_list
    for component in (
        pipeline.components["comp-for-loop-2"],
        pipeline.components["comp-for-loop-3"],
    ):
        assert {spec.type for spec in component.parameters.values()} == {ParameterType.ANY}


# -- exit handlers -----------------------------------------------------------------------------
@dsl.pipeline
def exiting(text: str):
    last = report(text=text)
    with dsl.ExitHandler(last, name="guarded"):
        echo(text="x")


def test_exit_handlers_know_how_their_tasks_ended(compile_ir):
    pipeline = read(compile_ir, exiting)
    tasks = pipeline.root.body.tasks
    last = tasks["report"]
    assert last.parameters == {"status": FinalStatus("exit-handler-1"), "text": FromInput("text")}
    assert (last.after, last.ignores_upstream_failure) == (("exit-handler-1",), True)
    assert tasks["exit-handler-1"].display_name == "guarded"
    status = pipeline.components["comp-report"].parameters["status"]
    assert (status.type, status.is_optional) == (ParameterType.TASK_FINAL_STATUS, True)
    spec = yaml.safe_load(compile_ir(exiting))
    del spec["root"]["dag"]["tasks"]["report"]["dependentTasks"]
    again = read_pipeline(json.dumps(spec).encode()).root.body.tasks["report"]
    assert again.after == ("exit-handler-1",)


# -- containers --------------------------------------------------------------------------------
@dsl.container_component
def shell(text: str, made: Output[Model]):
    return dsl.ContainerSpec(
        image="busybox",
        command=["sh", "-c", "echo $0 > $1"],
        args=[dsl.IfPresentPlaceholder("text", then=["-t", text]), made.path],
    )


@dsl.pipeline
def asking(cpu: str = "2", gpus: int = 1, name: str = "NVIDIA"):
    small = echo(text="x").set_memory_limit("512Mi").set_memory_request("1G")
    small.set_cpu_limit("500m").set_cpu_request("0.25")
    small.set_env_variable("A", "1").set_env_variable("B", "$(A)2")
    echo().set_cpu_limit(cpu).set_accelerator_type(name).set_accelerator_limit(gpus)
    shell(text="x")


def test_containers_environments_and_resources(compile_ir):
    pipeline = read(compile_ir, asking)
    small, asked, plain = (
        pipeline.components[f"comp-{name}"].body for name in ("echo", "echo-2", "shell")
    )
    assert list(small.env.items()) == [("A", "1"), ("B", "$(A)2")]
    assert small.resources == Resources("0.25", "500m", "1G", "512Mi")
    assert small.function.function == "echo"
    assert (plain.function, plain.command) == (None, ("sh", "-c", "echo $0 > $1"))
    assert plain.args[0] == {
        "IfPresent": {"InputName": "text", "Then": ["-t", "{{$.inputs.parameters['text']}}"]}
    }
    # What resources come from is no input of the function; it is declared, so that it is known.
    assert asked.resources == Resources(
        cpu_limit="{{$.inputs.parameters['pipelinechannel--cpu']}}",
        accelerator_type="{{$.inputs.parameters['pipelinechannel--name']}}",
        accelerator_count="{{$.inputs.parameters['pipelinechannel--gpus']}}",
    )
    given = pipeline.root.body.tasks["echo-2"].parameters
    declared = pipeline.components["comp-echo-2"].parameters
    for name in ("cpu", "gpus", "name"):
        assert given[f"pipelinechannel--{name}"] == FromInput(name)
        assert declared[f"pipelinechannel--{name}"].is_optional


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpuLimit": 0.5, "memoryLimit": 4.0},
         Resources(cpu_limit="0.5", memory_limit="4000000000")),
        ({"memoryRequest": 0.268435456, "cpuRequest": 2.0},
         Resources(cpu_request="2", memory_request="268435456")),
        ({"accelerator": {"type": "NVIDIA", "count": "2"}},
         Resources(accelerator_type="NVIDIA", accelerator_count="2")),
        ({"accelerator": {"resourceType": "nvidia.com/gpu", "resourceCount": "1", "type": "x"}},
         Resources(accelerator_type="nvidia.com/gpu", accelerator_count="1")),
        ({}, Resources()),
    ],
)  # fmt: skip
def test_older_spellings_of_resources(compile_ir, resources, expected):
    spec = yaml.safe_load(compile_ir(asking))
    spec["deploymentSpec"]["executors"]["exec-echo"]["container"]["resources"] = resources
    pipeline = read_pipeline(json.dumps(spec).encode())
    assert pipeline.components["comp-echo"].body.resources == expected


# -- importers, workspaces, literals -----------------------------------------------------------
@dsl.pipeline(
    pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")),
)
def working(owner: str = "ana"):
    dsl.importer(
        artifact_uri="models://punctuality@production",
        artifact_class=Model,
        reimport=True,
        metadata={"owner": owner, "parts": [1, {"of": owner}]},
        download_to_workspace=True,
    )
    echo(text=dsl.WORKSPACE_PATH_PLACEHOLDER + "/x")


def test_importers_and_workspaces(compile_ir):
    pipeline = read(compile_ir, working)
    importer = pipeline.components["comp-importer"].body
    assert importer.uri == "models://punctuality@production"
    assert (importer.reimport, importer.downloads_to_workspace) == (True, True)
    assert importer.schema_title == "system.Model"
    placeholder = "{{$.inputs.parameters['metadata']}}"
    assert importer.metadata == {"owner": placeholder, "parts": [1.0, {"of": placeholder}]}
    assert pipeline.has_workspace
    assert pipeline.notes == ("The workspace's size (1Gi) is not enforced.",)


def test_literals_descriptions_and_the_pipeline_root(compile_ir):
    spec = yaml.safe_load(compile_ir(branching))
    spec["root"]["inputDefinitions"]["parameters"]["text"] |= {
        "literals": ["a", "b"], "description": "Which one.",
    }  # fmt: skip
    spec["defaultPipelineRoot"] = "gs://bucket/root"
    pipeline = read_pipeline(json.dumps(spec).encode())
    text = pipeline.root.parameters["text"]
    assert (text.literals, text.description) == (("a", "b"), "Which one.")
    (note,) = pipeline.notes
    assert note.startswith("defaultPipelineRoot (gs://bucket/root) has no effect")


def test_the_read_pipeline_is_plain_frozen_data(compile_ir):
    pipeline = read(compile_ir, looping)
    assert read(compile_ir, looping) == pipeline
    bodies = [component.body for component in pipeline.components.values()]
    assert any(isinstance(body, ContainerExecutor) for body in bodies)
    with pytest.raises(AttributeError):
        pipeline.name = "other"
