"""What is read from IR, with files that the KFP compiler itself makes; and from no IR at all."""

from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, components, dsl

from seamline.domain.errors import InvalidInput
from seamline.register.pipelines.interfaces import read_components, read_interface, read_shape
from seamline.register.pipelines.ir_file import load_ir
from seamline.register.pipelines.shapes import shape_of


@dsl.component(base_image="python:3.11")
def score(day: str, model: dsl.Output[dsl.Model], rate: float = 0.5) -> str:
    return day


@dsl.component(base_image="python:3.11")
def rate_all(models: dsl.Input[list[dsl.Model]]) -> str:
    return str(len(models))


@dsl.pipeline(name="team_a", description="Of team A.")
def team_a(
    day: str,
    params: dict = {"a": 1},  # noqa: B006 as the SDK wants it
    limit: float = None,  # noqa: RUF013
    start: dsl.Input[dsl.Model] = None,
) -> str:
    """Of team A.

    Args:
        day: Of the flights.
    """
    scored = score(day=day)
    with dsl.If(day == "2013-01-01"):
        score(day="never")
    with dsl.ParallelFor(["a", "b"]) as one:
        each = score(day=one)
    rate_all(models=dsl.Collected(each.outputs["model"]))
    return scored.outputs["Output"]


@dsl.pipeline(name="team_b")
def team_b(day: str) -> str:
    return score(day=day, rate=0.1).outputs["Output"]


def compiled(pipeline: Any, folder: Path) -> bytes:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return path.read_bytes()


def test_the_interface_of_a_compiled_pipeline(tmp_path: Path) -> None:
    found = shape_of(compiled(team_a, tmp_path)).interface.to_json()
    assert found == {
        "inputs": {
            "day": {"type": "STRING", "optional": False, "description": "Of the flights."},
            "limit": {"type": "NUMBER_DOUBLE", "optional": True},
            "params": {"type": "STRUCT", "optional": True, "default": {"a": 1}},
            "start": {"type": "system.Model@0.0.1", "optional": True},
        },
        "outputs": {"Output": {"type": "STRING", "optional": False}},
    }


def test_a_pipeline_is_found_inside_another(tmp_path: Path) -> None:
    """The compiler renames what collides: both teams have a component called score, and each
    stands there twice."""
    teams = [compiled(pipeline, tmp_path) for pipeline in (team_a, team_b)]
    loaded = [components.load_component_from_text(data.decode()) for data in teams]

    @dsl.pipeline(name="all-models")
    def all_models(day: str) -> None:
        for component in loaded:
            component(day=day)
        with dsl.ParallelFor(["x", "y"]) as one:
            for component in loaded:
                component(day=one)

    outer = shape_of(compiled(all_models, tmp_path))
    inner = [shape_of(data) for data in teams]
    assert {one.content_digest for one in inner} <= outer.contains
    assert inner[0].content_digest not in inner[1].contains
    whole = shape_of(compiled(all_models, tmp_path))
    assert whole == outer


def test_other_code_is_other_content(tmp_path: Path) -> None:
    data = compiled(team_b, tmp_path)
    changed = data.replace(b"return day", b"return 'x'")
    assert changed != data
    old, new = shape_of(data), shape_of(changed)
    assert old.content_digest != new.content_digest
    assert old.interface == new.interface
    names = [read_components(load_ir(one)) for one in (data, changed)]
    assert names[0].keys() == names[1].keys() == {"score"}
    assert names[0]["score"] != names[1]["score"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"root": 3, "components": [], "deploymentSpec": "x"},
        {"root": {"inputDefinitions": {"parameters": {"x": None}, "artifacts": 4}}},
        {"root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-gone"}}}}}},
        {"root": {"dag": None}, "components": {"comp-a": None, "comp-b": {"executorLabel": []}}},
    ],
)
def test_ir_that_lacks_parts_is_read(document: dict[str, Any]) -> None:
    assert read_shape(document).content_digest.startswith("sha256:")
    assert read_interface(document).to_json()


def test_a_component_that_contains_itself_ends() -> None:
    task = {"componentRef": {"name": "comp-a"}}
    dag = {"dag": {"tasks": {"a": task}}}
    assert read_shape({"root": dag, "components": {"comp-a": dag}}).contains


def test_files_that_unfold_into_something_huge() -> None:
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 20)}]" for n in range(1, 9))
    with pytest.raises(InvalidInput, match="values"):
        shape_of(f"l0: &l0 [1]\n{levels}\nroot: {{}}\n".encode())
    with pytest.raises(InvalidInput, match="levels"):
        shape_of(b"root: &r {again: *r}\n")
    steps = (
        f"  c{n}: {{dag: {{tasks: {{t: {{componentRef: {{name: c{n + 1}}}}}}}}}}}\n"
        for n in range(5_000)
    )
    with pytest.raises(InvalidInput, match="too deeply"):
        shape_of(("root: {}\ncomponents:\n" + "".join(steps)).encode())
