"""All `{{$…}}` placeholders: in constants of a pipeline, in commands, in environment variables."""

import re
from datetime import datetime

import pytest
import yaml
from kfp import dsl
from kfp.dsl import ContainerSpec, OutputPath

from seamline.domain.errors import SeamlineError

IMAGE = "python:3.11"
feature = pytest.mark.feature
RUN_WIDE = {
    "name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
    "id": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
    "resource": dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
    "created": dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
    "scheduled": dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    "root": dsl.PIPELINE_ROOT_PLACEHOLDER,
    "task": dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
    "task_id": dsl.PIPELINE_TASK_ID_PLACEHOLDER,
}


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def hand_on(value: dict) -> dict:
    return value


@dsl.component(base_image=IMAGE)
def variable(name: str) -> str:
    import os

    return os.environ.get(name, "not set")


def check_names(names: dict, ran, task: str) -> None:
    assert names["id"] == ran.id
    assert ran.id in names["resource"] and names["name"]
    assert datetime.fromisoformat(names["created"]).utcoffset().total_seconds() == 0
    assert datetime.fromisoformat(names["scheduled"]).utcoffset().total_seconds() == 0
    assert names["task"] == task and task in names["task_id"]
    assert "{{" not in "".join(names.values())


@feature("Placeholders", "Names of the run and the task, in constants of Python components")
def test_kfp_run_names_in_constants(bench):
    @dsl.pipeline
    def named() -> dict:
        return hand_on(value=dict(RUN_WIDE)).output

    ran = bench.run(named)
    check_names(ran.result, ran, "hand-on")


@feature("Placeholders", "Names of the run and the task, in commands of containers")
def test_kfp_run_names_in_commands(bench):
    @dsl.container_component
    def tell(out: OutputPath(str)):
        script = 'mkdir -p "$(dirname "$0")"; printf "%s\\n" "$@" > "$0"'
        return ContainerSpec(
            image="alpine", command=["sh", "-c", script, out], args=list(RUN_WIDE.values())
        )

    @dsl.pipeline
    def named() -> str:
        return tell().outputs["out"]

    ran = bench.run(named)
    lines = ran.result.split("\n")[:-1]
    check_names(dict(zip(RUN_WIDE, lines, strict=True)), ran, "tell")


@feature("Placeholders", "Names of the run and the task, inside longer texts and nested pipelines")
def test_kfp_run_names_in_texts(bench):
    @dsl.pipeline
    def inner(text: str) -> str:
        say(text=f"<{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}>")
        return say(text=f"{text} in {dsl.PIPELINE_JOB_ID_PLACEHOLDER}").output

    @dsl.pipeline
    def outer() -> str:
        return inner(text=f"of {dsl.PIPELINE_JOB_ID_PLACEHOLDER}").output

    ran = bench.run(outer)
    assert ran.result == f"of {ran.id} in {ran.id}"
    assert ran.output("inner/say") == "<say>"


@feature("Placeholders", "In iterations of a loop, each task has an id of its own")
def test_kfp_task_ids_in_loops(bench):
    @dsl.pipeline
    def looping():
        with dsl.ParallelFor([1, 2]):
            say(text=f"{dsl.PIPELINE_TASK_NAME_PLACEHOLDER} {dsl.PIPELINE_TASK_ID_PLACEHOLDER}")

    ran = bench.run(looping)
    said = [ran.output(f"for-loop-2[{i}]/say").split(" ", 1) for i in (0, 1)]
    assert said[0][0] == said[1][0] == "say" and said[0][1] != said[1][1]


@feature("Placeholders", "An argument that reads like a placeholder is a value")
def test_kfp_arguments_like_placeholders(bench):
    @dsl.pipeline
    def elsewhere(text: str) -> str:
        return say(text=text).output

    given = bench.run(elsewhere, {"text": dsl.PIPELINE_JOB_ID_PLACEHOLDER})
    assert given.result == dsl.PIPELINE_JOB_ID_PLACEHOLDER


@feature("Placeholders", "Inputs by name in constants, quoted either way")
def test_kfp_inputs_by_name(bench):
    @dsl.component(base_image=IMAGE)
    def two(a: str, b: str) -> str:
        return f"{a}|{b}"

    @dsl.pipeline
    def naming() -> str:
        return two(a="x", b="{{$.inputs.parameters['a']}}-{{$.inputs.parameters[\"a\"]}}").output

    assert bench.run(naming).result == "x|x-x"


@feature("Placeholders", "Inputs by name with json_escape, for texts inside JSON")
def test_kfp_json_escape(bench):
    @dsl.component(base_image=IMAGE)
    def two(a: str, b: str) -> str:
        import json

        return json.loads(b)["deep"]

    @dsl.pipeline
    def escaping(text: str) -> str:
        return two(a=text, b='{"deep": "{{$.inputs.parameters[\'a\'].json_escape[1]}}"}').output

    text = 'it\'s "é"\n\\'
    assert bench.run(escaping, {"text": text}).result == text


@feature("Placeholders", "The pipeline root that the pipeline names")
def test_kfp_the_pipeline_root(bench):
    @dsl.pipeline(pipeline_root="/somewhere/of/mine")
    def rooted() -> str:
        return say(text=dsl.PIPELINE_ROOT_PLACEHOLDER).output

    result = bench.run(rooted).result
    assert result and "{{" not in result


@feature("Placeholders", "One that no engine but Vertex AI can fill is refused", status="refused")
@pytest.mark.parametrize(
    "placeholder", ["{{$.pipeline_google_cloud_project_id}}", "{{$.pipeline_service_account}}"]
)
def test_kfp_placeholders_of_vertex(bench, placeholder):
    @dsl.pipeline
    def elsewhere():
        say(text=f"in {placeholder}")

    with pytest.raises(SeamlineError) as refused:
        bench.run(elsewhere)
    assert "say" in refused.value.message
    assert placeholder.strip("{}$.") in refused.value.message


@feature("Placeholders", "A misspelt one is refused, with the nearest name", status="refused")
def test_kfp_a_misspelt_placeholder(bench):
    @dsl.pipeline
    def misspelt():
        say(text="{{$.pipeline_job_uid}} {{$.inputs.parameters['x']}}")

    with pytest.raises(SeamlineError) as refused:
        bench.run(misspelt)
    assert "say" in refused.value.message and "pipeline_job_uid" in refused.value.message


@feature("Placeholders", "In environment variables; $(NAME) refers to earlier ones")
def test_kfp_references_in_variables(bench):
    @dsl.component(base_image=IMAGE)
    def variables(who: str) -> dict:
        import os

        return {name: os.environ.get(name) for name in ("A", "B", "C", "D", "E", "RUN", "WHO")}

    @dsl.pipeline
    def expanding(who: str) -> dict:
        task = variables(who=who)
        task.set_env_variable("A", "a")
        task.set_env_variable("B", "$(A)-$(A)")
        task.set_env_variable("C", "$(B)$(NOT_THERE)")
        task.set_env_variable("D", "$$(A) $A ${A}")
        task.set_env_variable("E", "")
        task.set_env_variable("RUN", dsl.PIPELINE_JOB_ID_PLACEHOLDER)
        task.set_env_variable("WHO", "<{{$.inputs.parameters['who']}}>")
        return task.output

    ran = bench.run(expanding, {"who": "it's $(A)"})
    assert ran.result == {
        "A": "a",
        "B": "a-a",
        "C": "a-a$(NOT_THERE)",
        "D": "$(A) $A ${A}",
        "E": "",
        "RUN": ran.id,
        "WHO": "<it's $(A)>",
    }


@feature("Placeholders", "In environment variables; $(NAME) refers to earlier ones")
def test_kfp_variables_in_commands(bench):
    @dsl.container_component
    def tell(out: OutputPath(str)):
        script = 'mkdir -p "$(dirname "$0")"; printf "%s" "$1 $MODE" > "$0"'
        return ContainerSpec(
            image="alpine", command=["sh", "-c", script, out], args=["$(MODE)-$$(MODE)"]
        )

    @dsl.pipeline
    def telling() -> str:
        return tell().set_env_variable("MODE", "fast").outputs["out"]

    assert bench.run(telling).result == "fast-$(MODE) fast"


@feature("Placeholders", "None is left in what a task is given")
def test_kfp_nothing_is_left(bench):
    @dsl.pipeline
    def named(n: int):
        say(text=f"{n} {dsl.PIPELINE_JOB_ID_PLACEHOLDER}")
        variable(name="X").set_env_variable("X", dsl.PIPELINE_TASK_NAME_PLACEHOLDER)

    ran = bench.run(named, {"n": 1})
    assert not re.search(r"\{\{", yaml.safe_dump([task["inputs"] for task in ran.tasks.values()]))
    assert ran.output("variable") == "variable"
