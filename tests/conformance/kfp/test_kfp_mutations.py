"""Compiled pipelines with something wrong in them, anywhere: refused in words, or run to an end.

What one file asks for must never stop the engine: it is the same one for every run of all teams.
"""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, List

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output, PipelineTaskFinalStatus

from seamline.domain.errors import SeamlineError

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)


@dsl.component(base_image=IMAGE)
def join(parts: Input[List[Dataset]], numbers: list) -> str:
    return f"{len(parts)} {numbers}"


@dsl.component(base_image=IMAGE)
def report(status: PipelineTaskFinalStatus):
    print(status)


@dsl.container_component
def shell(text: str, out: dsl.OutputPath(str)):
    script = 'mkdir -p "$(dirname "$0")"; printf "%s" "$1" > "$0"'
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", script], args=[out, text])


@dsl.pipeline
def inner(n: int) -> int:
    return add(n=add(n=n).output).output


@dsl.pipeline
def everything(n: int = 1, rows: list = [{"a": 1}, {"a": 2}], path: str = "/etc/hostname"):
    with dsl.If(n > 1):
        one = inner(n=n)
    with dsl.Else():
        other = add(n=n, by=2)
    first = dsl.OneOf(one.output, other.output)
    with dsl.ExitHandler(report()):
        with dsl.ParallelFor(rows, parallelism=1) as row:
            each = add(n=first, by=row.a).set_retry(1, backoff_duration="0s")
            made = write(text=f"{each.output} of {n}")
            with dsl.If(each.output == 3):
                write(text="three")
        join(parts=dsl.Collected(made.outputs["data"]), numbers=dsl.Collected(each.output))
    found = dsl.importer(artifact_uri=path, artifact_class=Dataset, metadata={"n": f"<{path}>"})
    shell(text="a").after(found).set_env_variable("A", dsl.PIPELINE_JOB_ID_PLACEHOLDER)
    task = add(n=1, by=n).set_memory_limit("1G").set_display_name("Last")
    task.set_caching_options(False)
    task.ignore_upstream_failure()


PLATFORM = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {"executors": {"exec-write": {"activeDeadlineSeconds": "20"}}},
            "pipelineConfig": {"workspace": {"size": "1Gi"}},
        }
    }
}
#: Where a mutation would only change the code that a task runs.
CODE = {"command", "args"}


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """All places of a document, from the outside in."""
    if path:
        yield path
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner_value in pairs:
            if key not in CODE:
                yield from places(inner_value, (*path, key))


def at(document: Any, path: tuple) -> Any:
    for key in path:
        document = document[key]
    return document


OTHERS = [
    None, True, 0, -1, 1.5, 1e300, "", "x", "add", "{{$.inputs.parameters['n']}}", "{{$.x}}", "1s",
    "int(inputs.parameter_values['n']) == 'a'", [], [1], {}, {"a": {"b": []}}, "\x00", "é" * 200,
]  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple]:
    """(which place, by share of all of them; what to do there; with what)."""
    one = st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(["delete", "replace", "other", "rename", "copy"]),
        st.floats(0, 1, exclude_max=True),
    )
    return draw(st.lists(one, min_size=1, max_size=3))


def mutate(document: dict, changes: list[tuple]) -> None:
    for share, change, other_share in changes:
        found = list(places(document))
        if not found:
            return
        path, other = (found[int(which * len(found))] for which in (share, other_share))
        holder, key = at(document, path[:-1]), path[-1]
        replacement = deepcopy(OTHERS[int(other_share * len(OTHERS))])
        if change == "delete":
            del holder[key]
        elif change == "replace":
            holder[key] = replacement
        elif change == "other":
            holder[key] = deepcopy(at(document, other))
        elif change == "rename" and isinstance(holder, dict):
            holder[str(replacement)] = holder.pop(key)
        elif change == "copy" and isinstance(holder, dict):
            holder[f"{key}-2"] = deepcopy(holder[key])


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Callable[[], bytes]:
    """In the shape in which the KFP client sends both documents, as JSON: it is read quickly."""
    path = tmp_path_factory.mktemp("compiled") / "everything.yaml"
    compiler.Compiler().compile(everything, str(path))
    spec = yaml.safe_load(path.read_text())
    ir = json.dumps({"pipeline_spec": spec, "platform_spec": PLATFORM}).encode()
    return lambda: ir


@feature(
    "Refused", "Anything wrong anywhere in a compiled file: refused in words, or run to an end"
)
@settings(
    deadline=None,
    max_examples=40 if settings.default.derandomize else 2000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes=mutations())
def test_kfp_mutated_pipelines(bench, compiled, changes):
    document = json.loads(compiled())
    mutate(document, changes)
    try:
        ran = bench.run(json.dumps(document).encode())
    except SeamlineError as refused:
        assert refused.message
        event("refused")
    else:
        event(ran.state)
        errors = {name: ran.error(name) for name in ran.failed}
        assert {name: e for name, e in errors.items() if e["kind"] != "failed"} == {}


@feature(
    "Refused", "Anything wrong anywhere in a compiled file: refused in words, or run to an end"
)
def test_kfp_what_is_mutated_runs(bench, compiled):
    ran = bench.run(compiled())
    assert ran.state == "succeeded", ran.shown["sentence"]
    assert len(ran.executed) == 10 and len(ran.not_triggered) == 4
