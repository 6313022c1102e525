"""What flows between tasks: outputs, references in constants, order, names, loaded components."""

import json
from typing import NamedTuple

import pytest
import yaml
from kfp import components, dsl
from kfp.dsl import Dataset, Input, Output

from seamline.domain.errors import InvalidInput

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def hand_on(value: dict) -> dict:
    return value


@dsl.component(base_image=IMAGE)
def note(path: str, word: str) -> str:
    with open(path, "a") as file:
        file.write(word + "\n")
    return word


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return file.read()


class Split(NamedTuple):
    low: int
    high: int
    said: str


@feature("Data flow", "Outputs of tasks as inputs of others; NamedTuple outputs")
def test_kfp_named_tuple_outputs(bench):
    @dsl.component(base_image=IMAGE)
    def split(n: int) -> NamedTuple("Split", [("low", int), ("high", int), ("said", str)]):
        from collections import namedtuple

        made = namedtuple("Split", ["low", "high", "said"])
        return made(low=n - 1, high=n + 1, said=f"around {n}")

    @dsl.pipeline
    def splitting(n: int) -> Split:
        made = split(n=n)
        total = add(n=made.outputs["low"], by=made.outputs["high"])
        return Split(low=total.output, high=made.outputs["high"], said=made.outputs["said"])

    ran = bench.run(splitting, {"n": 5})
    assert ran.outputs == {"low": 10, "high": 6, "said": "around 5"}
    assert ran.executed == {"split", "add"} and not ran.skipped


@feature("Data flow", "One component used several times, each task with its own name")
def test_kfp_one_component_several_times(bench):
    @dsl.pipeline
    def chain(n: int = 1) -> int:
        value = add(n=n)
        for _ in range(11):
            value = add(n=value.output)
        return value.output

    ran = bench.run(chain)
    assert ran.executed == {"add", *(f"add-{i}" for i in range(2, 13))}
    assert repr(ran.result) == "13"


@feature("Data flow", "Constants with references to outputs and inputs (f-strings)")
def test_kfp_references_in_texts(bench):
    @dsl.pipeline
    def greeting(name: str, n: int) -> str:
        first = add(n=n)
        second = say(text=f"{name} has {first.output} of {n}, {{not}} {{{{$.x}} %s \\n")
        return say(text=f"<{second.output}|{second.output}>").output

    inner = 'Ana\'s "é" has 4 of 3, {not} {{$.x} %s \\n'
    ran = bench.run(greeting, {"name": 'Ana\'s "é"', "n": 3})
    assert ran.result == f"<{inner}|{inner}>"


@feature("Data flow", "Constants with references to outputs and inputs (f-strings)")
def test_kfp_references_in_lists_and_structs(bench, exactly):
    @dsl.component(base_image=IMAGE)
    def facts() -> NamedTuple("Facts", [("count", int), ("flags", dict), ("items", list)]):
        return (2, {"on": True, "share": 0.5}, [1, "a"])

    @dsl.pipeline
    def tables(n: int, name: str) -> dict:
        made = facts().outputs
        return hand_on(
            value={
                "n": n,
                "count": made["count"],
                "flags": made["flags"],
                "deep": [{"items": made["items"], "said": f"{name}-{made['count']}"}, 1.5, 3],
            }
        ).output

    expected = {
        "n": 3,
        "count": 2,
        "flags": {"on": True, "share": 0.5},
        "deep": [{"items": [1, "a"], "said": "x-2"}, 1.5, 3],
    }
    assert exactly(bench.run(tables, {"n": 3, "name": "x"}).result) == exactly(expected)


@feature("Data flow", "Constants with references to outputs and inputs (f-strings)")
def test_kfp_other_types_in_texts_stand_as_json(bench):
    @dsl.component(base_image=IMAGE)
    def odds() -> NamedTuple("Odds", [("flag", bool), ("share", float), ("items", list)]):
        return (True, 0.25, [1, {"a": "é"}])

    @dsl.pipeline
    def said() -> str:
        made = odds().outputs
        return say(text=f"{made['flag']} {made['share']} {made['items']}").output

    flag, share, items = bench.run(said).result.split(" ", 2)
    assert (flag, share) == ("true", "0.25")
    assert json.loads(items) == [1, {"a": "é"}]


@feature("Data flow", "A value that looks like a reference is a value: data is not expanded")
def test_kfp_data_is_not_expanded(bench):
    """What a task returns, put into a constant, is not looked through again."""

    @dsl.component(base_image=IMAGE)
    def hostile() -> str:
        return "{{$.inputs.parameters['pipelinechannel--secret']}}"

    @dsl.pipeline
    def quoted(secret: str) -> str:
        return say(text=f"{hostile().output} and {secret}").output

    ran = bench.run(quoted, {"secret": "s3"})
    assert ran.result == "{{$.inputs.parameters['pipelinechannel--secret']}} and s3"


@feature("Data flow", "Order without data: .after(), of one task and of several")
def test_kfp_after(bench, tmp_path):
    @dsl.pipeline
    def ordered(path: str):
        first = note(path=path, word="first")
        second = note(path=path, word="second").after(first)
        third = note(path=path, word="third").after(second)
        note(path=path, word="last").after(first, third)

    ran = bench.run(ordered, {"path": str(tmp_path / "order")})
    assert ran.state == "succeeded"
    assert (tmp_path / "order").read_text().split() == ["first", "second", "third", "last"]


def without_dependencies(ir: bytes) -> bytes:
    """The compiled pipeline with `dependentTasks` taken out, everywhere."""
    spec = yaml.safe_load(ir)
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    for dag in dags:
        for task in dag["tasks"].values():
            task.pop("dependentTasks", None)
    return yaml.safe_dump(spec).encode()


@feature("Data flow", "Dependencies derived from inputs, where dependentTasks says nothing")
def test_kfp_dependencies_are_derived(bench):
    """Parameters, artifacts, references in constants, and what a condition reads."""

    @dsl.pipeline
    def inner(n: int) -> int:
        return add(n=add(n=n).output).output

    @dsl.pipeline
    def derived() -> str:
        one = add(n=0)
        two = inner(n=one.output)
        text = say(text=f"it is {two.output}")
        made = write(text=text.output)
        with dsl.If(two.output == 3, name="three"):
            say(text="three")
        return read(data=made.outputs["data"]).output

    ir = bench.compile(derived)
    assert b"dependentTasks" in ir
    ran = bench.run(without_dependencies(ir))
    assert ran.result == "it is 3"
    assert ran.executed == {
        "add", "inner/add", "inner/add-2", "say", "write", "condition-1/say-2", "read",
    }  # fmt: skip


@feature("Data flow", "JSON instead of YAML; the shape in which the KFP client sends IR")
def test_kfp_json_and_the_shape_of_the_client(bench):
    @dsl.pipeline
    def plain(n: int = 1) -> int:
        return add(n=n).output

    spec = yaml.safe_load(bench.compile(plain))
    wrapped = {"pipeline_spec": spec, "platform_spec": {}}
    for shape in (spec, wrapped):
        assert bench.run(json.dumps(shape).encode(), {"n": 4}).result == 5


@feature("Data flow", "Components loaded from YAML text and from files")
def test_kfp_loaded_components(bench, tmp_path):
    from kfp import compiler

    compiler.Compiler().compile(add, str(tmp_path / "add.yaml"))
    from_file = components.load_component_from_file(str(tmp_path / "add.yaml"))
    from_text = components.load_component_from_text((tmp_path / "add.yaml").read_text())

    @dsl.pipeline
    def loaded(n: int) -> int:
        return from_text(n=from_file(n=n).output, by=10).output

    assert bench.run(loaded, {"n": 1}).result == 12


@feature("Data flow", "A single component, compiled as it is")
def test_kfp_a_single_component(bench):
    ran = bench.run(add, {"n": 2})
    assert (ran.output("add"), ran.executed) == (3, {"add"})
    with pytest.raises(InvalidInput, match="'n'"):
        bench.run(add)


@feature("Data flow", "Functions that a component needs (additional_funcs)")
def test_kfp_additional_functions(bench):
    def twice(n):
        return 2 * n

    def thrice(n):
        return twice(n) + n

    @dsl.component(base_image=IMAGE, additional_funcs=[twice, thrice])
    def six(n: int) -> int:
        return twice(thrice(n))

    @dsl.pipeline
    def helped() -> int:
        return six(n=1).output

    assert bench.run(helped).result == 6


@feature("Data flow", "Files that a component brings along (EmbeddedInput)")
def test_kfp_embedded_artifacts(bench, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "words.txt").write_text("one two")
    (tmp_path / "single.txt").write_text("alone")

    @dsl.component(base_image=IMAGE, embedded_artifact_path=str(tmp_path / "assets"))
    def folder(assets: dsl.EmbeddedInput[Dataset]) -> str:
        from pathlib import Path

        return Path(assets.path, "words.txt").read_text()

    @dsl.component(base_image=IMAGE, embedded_artifact_path=str(tmp_path / "single.txt"))
    def single(asset: dsl.EmbeddedInput[Dataset]) -> str:
        from pathlib import Path

        return Path(asset.path).read_text()

    @dsl.pipeline
    def brought():
        folder()
        single()

    ran = bench.run(brought)
    assert (ran.output("folder"), ran.output("single")) == ("one two", "alone")


@feature("Data flow", "Display names of tasks and of the pipeline; a description")
def test_kfp_display_names(bench):
    @dsl.pipeline(name="Named pipeline", display_name="A pipeline!", description="What it is for")
    def named():
        add(n=1).set_display_name("Adds one (é)")
        add(n=1)

    ran = bench.run(named)
    assert ran.shown["pipeline"] == "named-pipeline"
    assert ran.tasks["add"]["display_name"] == "Adds one (é)"
    assert ran.tasks["add-2"]["display_name"] == "add-2"
    assert ran.tasks["add-2"]["component"] == "comp-add-2"


@feature("Data flow", "Independent tasks run in parallel")
def test_kfp_independent_tasks_run_in_parallel(bench, tmp_path):
    """Each waits for all the others: one after another they would never end."""

    @dsl.component(base_image=IMAGE)
    def meet(folder: str, who: str, count: int):
        import time
        from pathlib import Path

        Path(folder, who).touch()
        deadline = time.monotonic() + 120
        while len(list(Path(folder).iterdir())) < count:
            assert time.monotonic() < deadline, "the others did not come"
            time.sleep(0.005)

    @dsl.pipeline
    def together(folder: str):
        for who in "abcd":
            meet(folder=folder, who=who, count=4)

    assert bench.run(together, {"folder": str(tmp_path)}).state == "succeeded"


@feature("Data flow", "Components with use_venv, and without the kfp package")
def test_kfp_other_ways_to_install(bench):
    @dsl.component(base_image=IMAGE, use_venv=True, packages_to_install=["pyyaml>=6"])
    def in_a_venv(n: int) -> int:
        return n + 1

    @dsl.component(base_image=IMAGE, install_kfp_package=False)
    def without_kfp(n: int) -> int:
        return n + 10

    @dsl.pipeline
    def installing(n: int) -> int:
        return without_kfp(n=in_a_venv(n=n).output).output

    assert bench.run(installing, {"n": 1}).result == 12


@feature("Data flow", "Requirements of one's own (packages_to_install) that are satisfied already")
def test_kfp_satisfied_requirements_need_no_installer(bench):
    @dsl.component(base_image=IMAGE, packages_to_install=["pyyaml>=6", "numpy"])
    def dump() -> str:
        import yaml

        return yaml.safe_dump({"a": 1}).strip()

    @dsl.pipeline
    def dumping() -> str:
        return dump().output

    assert bench.run(dumping).result == "a: 1"
