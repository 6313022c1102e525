"""What is refused when a pipeline is read, and how the errors point at their place."""

import json
from typing import Optional

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir.reader import read_pipeline
from seamline.train.plan.planner import make_plan

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def train(rows: int, model: Output[Model]) -> int:
    return rows


@dsl.component(base_image=IMAGE)
def use(text: str, model: Optional[Input[Model]] = None) -> str:  # noqa: UP045
    return text


@dsl.container_component
def shell(text: str, data: Input[Dataset], made: Output[Model]):
    return dsl.ContainerSpec(
        image="busybox",
        command=["sh", "-c", text, data.path],
        args=[dsl.IfPresentPlaceholder("text", then="x"), made.uri],
    )


@dsl.pipeline
def team(rows: int) -> Model:
    trained = train(rows=rows)
    use(model=trained.outputs["model"], text=f"{rows} rows")
    return trained.outputs["model"]


@dsl.pipeline
def whole(rows: int = 4, names: list[str] = ["a"]):  # noqa: B006
    imported = dsl.importer(artifact_uri="datasets://flights", artifact_class=Dataset)
    made = team(rows=rows).after(imported)
    use(model=made.output, text="end").set_memory_limit("1G").set_env_variable("A", "1")
    shell(text="x", data=imported.output)
    with dsl.ParallelFor(names, parallelism=2) as name:
        use(text=name)
    with dsl.If(rows == 3):
        use(text="x")


def read(ir: bytes):
    return make_plan(read_pipeline(ir))


# -- not IR ------------------------------------------------------------------------------------
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


# -- broken IR ---------------------------------------------------------------------------------
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
LOOP = "root/dag/tasks/for-loop-1"
BRANCH = "root/dag/tasks/condition-2"
EXECUTORS = "deploymentSpec/executors"
SHELL = f"{EXECUTORS}/exec-shell/container"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("schemaVersion", "1.0.0", "schemaVersion is '1.0.0'"),
        (f"{TASK}/componentRef/name", "comp-us", "Did you mean comp-use"),
        (f"{TASK}/dependentTasks", ["tean"], "'tean', which is not in this DAG.*Did you mean team"),
        (f"{TASK}/dependentTasks", ["use"], "cycle: use → use"),
        ("root/dag/tasks/importer/dependentTasks", ["team"], "cycle"),
        (f"{TASK}/inputs/parameters/text", {}, "root.dag.tasks.use.inputs.parameters.text"),
        (f"{TASK}/triggerPolicy/strategy", "SOME", "strategy is 'SOME'"),
        ("root/dag/tasks/..%2F..", {}, "cannot be a name"),
        ("components/comp-use/executorLabel", "exec-no", "there is no such executor"),
        ("components/comp-use/inputDefinitions/parameters/text/parameterType", "STRIN", "STRING"),
        ("components/comp-use/inputDefinitions/parameters/text/parameterType", "ANY", "is 'ANY'"),
        (f"{TASK}/inputs/artifacts/model/taskOutputArtifact/outputArtifactKey", "Outptu",
         "'Outptu' of 'team'.*Did you mean Output"),
        (f"{TASK}/inputs/artifacts/model/taskOutputArtifact/producerTask", "tema",
         "root.dag.tasks.use depends on 'tema'.*Did you mean team"),
        (f"{TASK}/inputs/parameters/text", {"taskOutputParameter": {"producerTask": "team",
         "outputParameterKey": "x"}}, "'x' of 'team'"),
        (f"{TASK}/inputs/parameters/text", {"componentInputParameter": "row"}, "Did you mean rows"),
        (f"{TASK}/inputs/parameters/text", {"taskFinalStatus": {"producerTask": "tema"}},
         "depends on 'tema'"),
        (f"{TASK}/inputs/parameters/text/runtimeValue/constant",
         "{{$.inputs.parameters['txt']}}", "the input 'txt'.*task 'use'.*Did you mean text"),
        ("components/comp-team/dag/outputs/artifacts/Output/artifactSelectors",
         [{"producerSubtask": "nobody", "outputArtifactKey": "model"}], "'nobody'"),
        ("components/comp-team/dag/outputs/artifacts/Output/artifactSelectors", [],
         "selects the output of no task"),
        (f"{TASK}/inputs/parameters", {}, "not given its input 'text'"),
        ("components/comp-team/dag/tasks/use/componentRef/name", "comp-team", "contains itself"),
        ("root/dag", {"tasks": {}}, "no tasks|nothing to run"),
        (f"{EXECUTORS}/exec-importer/importer/artifactUri", {"runtimeParameter": "url"},
         "takes its URI from 'url'"),
        (f"{EXECUTORS}/exec-use/container/args", ["x"], "without --function_to_exec"),
        (f"{TASK}/retryPolicy", {"maxRetryCount": -1}, "maxRetryCount.*whole number"),
        (f"{TASK}/retryPolicy", {"maxRetryCount": 1, "backoffDuration": "1m"}, "looks like 60s"),
        # Conditions
        (f"{BRANCH}/triggerPolicy/condition",
         "inputs.parameter_values['pipelinechannel--rwos'] > 1",
         "condition of task 'condition-2' reads the input.*Did you mean pipelinechannel--rows"),
        (f"{BRANCH}/triggerPolicy/condition", "inputs.parameter_values['x'] = 1",
         "Task 'condition-2'.*'=' at character 30"),
        (f"{BRANCH}/triggerPolicy/condition", "string_value == 'x'", "reads string_value"),
        # Selectors
        (f"{TASK}/inputs/parameters/text", {"componentInputParameter": "rows",
         "parameterExpressionSelector": "size(string_value)"}, "Task 'use'.*character 1"),
        (f"{TASK}/inputs/parameters/text", {"componentInputParameter": "rows",
         "parameterExpressionSelector": "true"}, "'true' selects no part of a value"),
        # Loops
        (f"{LOOP}/parameterIterator/itemInput", "item",
         "the loop 'for-loop-1' gives each item to the parameter 'item'"),
        (f"{LOOP}/parameterIterator/items", {"inputParameter": "name"},
         "'for-loop-1' loops over its input 'name'.*Did you mean|Known: pipelinechannel--names"),
        (f"{LOOP}/parameterIterator/items", {"raw": "3"},
         "loop 'for-loop-1' is over 3, which is no list"),
        (f"{LOOP}/parameterIterator/items", {"raw": "[1"}, "loop 'for-loop-1' are not JSON"),
        (f"{LOOP}/artifactIterator", {"items": {"inputArtifact": "x"}, "itemInput": "y"},
         "'for-loop-1' has two iterators"),
        (f"{LOOP}/iteratorPolicy/parallelismLimit", -1, "parallelismLimit.*whole number"),
        # Containers
        (f"{SHELL}/args", ["{{$.inputs.parameters['txt']}}"],
         "args of task 'shell' names 'txt' among its inputs.parameters.*Did you mean text"),
        (f"{SHELL}/args", ["{{$.inputs.artifacts['text'].path}}"], "among its inputs.artifacts"),
        (f"{SHELL}/command", ["{{$.outputs.parameters['made'].output_file}}"],
         "among its outputs.parameters"),
        (f"{SHELL}/args", ['{"Concat": ["{{$.inputs.parameters[\'txt\']}}"]}'], "names 'txt'"),
        (f"{SHELL}/args", ['{"IfPresent": {"InputName": "txt", "Then": "x"}}'],
         "asks whether its input 'txt' is present.*Did you mean text"),
        (f"{SHELL}/args", ['{"IfPresent": 3}'], "neither text nor a Concat"),
        (f"{EXECUTORS}/exec-use/container/env", [{"name": "A",
         "value": "{{$.inputs.parameters['txt']}}"}], "env.A of task 'use' names 'txt'"),
        (f"{EXECUTORS}/exec-use/container/env", [{"value": "x"}], "env.*name is missing"),
        (f"{EXECUTORS}/exec-use/container/resources", {"memoryLimit": "much"}, "a number"),
        # The workspace
        (f"{TASK}/inputs/parameters/text/runtimeValue/constant", "{{$.workspace_path}}/x",
         "Task 'use' uses the workspace.*WorkspaceConfig"),
        (f"{SHELL}/args", ["{{$.workspace_path}}"], "Task 'shell' uses the workspace"),
        (f"{EXECUTORS}/exec-importer/importer/downloadToWorkspace", True,
         "Task 'importer' uses the workspace"),
    ],
)  # fmt: skip
def test_broken_ir_names_its_place(compile_ir, path, value, said):
    with pytest.raises(InvalidInput, match=f"(?s){said}"):
        read(changed(compile_ir(whole), path, value))


# -- not supported -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{EXECUTORS}/exec-shell", {"resolver": {"outputArtifactQueries": {}}},
         "Task 'shell' uses a resolver"),
        (f"{EXECUTORS}/exec-shell", {"customJob": {"customJob": {"a": 1}}},
         "Task 'shell' uses a custom job of Vertex AI"),
        (f"{EXECUTORS}/exec-shell", {"other": {"a": 1}},
         "Task 'shell' uses the executor kind 'other'"),
        (f"{SHELL}/lifecycle", {"preCacheCheck": {"command": ["x"]}},
         "Task 'shell' uses a lifecycle hook"),
        (f"{SHELL}/sidecar", {"image": "x"}, "Task 'shell' uses the field 'sidecar'"),
        (f"{SHELL}/args", ["{{$.pipeline_google_cloud_location}}"],
         "Task 'shell' uses the placeholder .*google_cloud_location}}, which only Vertex AI fills"),
        (f"{SHELL}/args", ["{{$.inputs.artifacts['data'].value}}"], "uses the placeholder"),
        (f"{TASK}/inputs/parameters/text/runtimeValue/constant", "{{$.inputs.artifacts['a'].uri}}",
         "Task 'use' uses the placeholder"),
        (f"{TASK}/inputs/parameters/text/runtimeValue/constant", "x {{$}}",
         "Task 'use' uses the placeholder {{\\$}}"),
        (f"{TASK}/inputs/parameters/text/parameterExpressionSelector",
         'parseJson(string_value)["a"]', "Task 'use' uses a part of a constant"),
        (f"{TASK}/timeout", "60s", "Task 'use' uses the field 'timeout'"),
        ("components/comp-use/taskConfigPassthroughs", [{"field": "ENV"}],
         "Task 'use' uses the field 'taskConfigPassthroughs'"),
        ("components/comp-use/inputDefinitions/parameters/config", {"parameterType": "TASK_CONFIG"},
         "Task 'use' uses a TASK_CONFIG parameter"),
        ("root/inputDefinitions/artifacts/data", {"artifactType": {}},
         "artifacts as arguments of the run \\(data\\)"),
        ("extra", {"a": 1}, "The pipeline uses the field 'extra'"),
    ],
)  # fmt: skip
def test_unsupported_features_are_refused_by_task_and_name(compile_ir, path, value, said):
    with pytest.raises(Refused, match=f"{said}.*not supported yet"):
        read(changed(compile_ir(whole), path, value))


def test_optional_artifacts_of_the_run_are_left_out(compile_ir):
    path = "root/inputDefinitions/artifacts/data"
    optional = {"artifactType": {"schemaTitle": "system.Dataset"}, "isOptional": True}
    pipeline = read_pipeline(changed(compile_ir(whole), path, optional))
    assert pipeline.root.artifacts["data"].schema_title == "system.Dataset"


def test_text_that_only_looks_like_a_placeholder_stays(compile_ir):
    path = f"{TASK}/inputs/parameters/text/runtimeValue/constant"
    read(changed(compile_ir(whole), path, "{{$index}} {{ $.x }} ${x}"))


def test_json_is_bounded_like_yaml():
    deep = b'{"a": ' * 5000 + b"1" + b"}" * 5000
    with pytest.raises(InvalidInput, match="deeper than"):
        read_pipeline(deep)
    with pytest.raises(InvalidInput, match="too deeply"):
        read_pipeline(b'{"a": ' * 200 + b"1" + b"}" * 200)
    with pytest.raises(InvalidInput, match="no schemaVersion"):
        read_pipeline(b'{"a": NaN}')
