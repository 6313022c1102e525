"""Container components: commands, struct placeholders, files in and out, all placeholders."""

import json
from typing import List, Optional

import pytest
from kfp import dsl
from kfp.dsl import (
    Artifact,
    ConcatPlaceholder,
    ContainerSpec,
    Dataset,
    IfPresentPlaceholder,
    Input,
    Model,
    Output,
    OutputPath,
)

IMAGE = "python:3.11"
feature = pytest.mark.feature
#: Each argument as a line of the file that is named first.
WRITE_LINES = 'mkdir -p "$(dirname "$0")"; printf "%s\\n" "$@" > "$0"'


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata.update(rows=len(text), word=text, share=0.5)


@dsl.component(base_image=IMAGE)
def read(data: Input[Artifact]) -> str:
    with open(data.path) as file:
        return file.read()


@dsl.component(base_image=IMAGE)
def double(n: int) -> int:
    return 2 * n


@feature("Containers", "A command with arguments; parameters in, a parameter file out")
def test_kfp_a_command(bench):
    @dsl.container_component
    def shout(text: str, times: int, said: OutputPath(str)):
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", 'mkdir -p "$(dirname "$2")"; printf "%s x%s" "$0" "$1" > "$2"'],
            args=[text, times, said],
        )

    @dsl.pipeline
    def shouting(text: str) -> str:
        return say(text=shout(text=text, times=3).outputs["said"]).output

    for text in ("hello", 'it\'s "é" $(true) `x` \\ {{$.x}}', ""):
        ran = bench.run(shouting, {"text": text})
        assert ran.result == f"{text} x3"
        assert ran.executed == {"shout", "say"}
        assert ran.tasks["shout"]["kind"] == "container"


@feature("Containers", "Output parameters of every type, cast from their files")
def test_kfp_typed_output_files(bench):
    @dsl.container_component
    def typed(
        whole: OutputPath(int),
        real: OutputPath(float),
        flag: OutputPath(bool),
        items: OutputPath(list),
        table: OutputPath(dict),
    ):
        script = (
            'mkdir -p "$(dirname "$0")"; printf 3 > "$0"; printf 2 > "$1"; printf True > "$2";'
            """printf '[1, 2.5, "a"]' > "$3"; printf '{"n": 4.0}' > "$4" """
        )
        return ContainerSpec(
            image="alpine", command=["sh", "-c", script], args=[whole, real, flag, items, table]
        )

    @dsl.component(base_image=IMAGE)
    def see(whole: int, real: float, flag: bool, items: list, table: dict) -> str:
        return repr((whole, real, flag, items, table))

    @dsl.pipeline
    def seeing() -> str:
        return see(**typed().outputs).output

    assert bench.run(seeing).result == "(3, 2.0, True, [1, 2.5, 'a'], {'n': 4})"


@feature("Containers", "Artifacts in and out: paths, URIs, names, metadata")
def test_kfp_artifacts_of_containers(bench):
    @dsl.container_component
    def transform(data: Input[Dataset], model: Output[Model], facts: OutputPath(str)):
        script = (
            'mkdir -p "$(dirname "$1")" "$(dirname "$2")";'
            '{ printf "model of "; cat "$0"; } > "$1"; shift 2; printf "%s|" "$@" > "$facts"'
        )
        return ContainerSpec(
            image="alpine",
            command=["env", ConcatPlaceholder(["facts=", facts]), "sh", "-c", script],
            args=[
                data.path,
                model.path,
                facts,
                "{{$.inputs.artifacts['data'].name}}",
                data.metadata["rows"],
                data.metadata["word"],
                data.metadata["share"],
                data.metadata,
                data.uri,
                model.uri,
            ],
        )

    @dsl.pipeline
    def transforming() -> str:
        made = transform(data=write(text="abc").outputs["data"])
        say(text=made.outputs["facts"])
        return read(data=made.outputs["model"]).output

    ran = bench.run(transforming)
    assert ran.result == "model of abc"
    assert ran.artifact("transform", "model")["type"] == "system.Model"
    name, rows, word, share, metadata, uri, out_uri, _ = ran.output("say").split("|")
    assert (rows, word, share) == ("3", "abc", "0.5") and name
    assert '"rows": 3' in metadata.replace('":3', '": 3') and uri and out_uri


@feature("Containers", "A directory as an output artifact")
def test_kfp_a_directory_of_a_container(bench):
    @dsl.container_component
    def make_folder(model: Output[Model]):
        script = 'mkdir -p "$0/deep"; printf x > "$0/deep/w"'
        return ContainerSpec(image="alpine", command=["sh", "-c", script], args=[model.path])

    @dsl.component(base_image=IMAGE)
    def look(model: Input[Model]) -> list:
        from pathlib import Path

        root = Path(model.path)
        return [str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()]

    @dsl.pipeline
    def looking() -> list:
        return look(model=make_folder().outputs["model"]).output

    assert bench.run(looking).result == ["deep/w"]


@feature("Containers", "Struct placeholders: ConcatPlaceholder, IfPresentPlaceholder, nested")
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["--prefix-x", "nothing", "--no-name", "x:none", "end"]),
        ({"name": "it's"}, ["--prefix-x", "it's", "--name", "it's", "<it's>", "x:(it's)", "end"]),
        ({"name": ""}, ["--prefix-x", "", "--name", "", "<>", "x:()", "end"]),
    ],
)
def test_kfp_struct_placeholders(bench, given, expected):
    @dsl.container_component
    def structs(x: str, out: OutputPath(str), name: Optional[str] = None):
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", WRITE_LINES, out],
            args=[
                ConcatPlaceholder(["--prefix-", x]),
                IfPresentPlaceholder("name", then=name, else_="nothing"),
                IfPresentPlaceholder(
                    "name",
                    then=["--name", name, ConcatPlaceholder(["<", name, ">"])],
                    else_=["--no-name"],
                ),
                ConcatPlaceholder(
                    [
                        x,
                        ":",
                        IfPresentPlaceholder(
                            "name", then=ConcatPlaceholder(["(", name, ")"]), else_="none"
                        ),
                    ]
                ),
                IfPresentPlaceholder("name", then=[]),
                "end",
            ],
        )

    @dsl.pipeline
    def structured(name: Optional[str] = None) -> str:
        return structs(x="x", name=name).outputs["out"]

    ran = bench.run(structured, given)
    assert ran.result.split("\n")[:-1] == expected


@feature("Containers", "IfPresentPlaceholder of artifacts and of inputs with a default")
def test_kfp_if_present_of_an_artifact(bench):
    @dsl.container_component
    def maybe(
        out: OutputPath(str),
        data: Input[Dataset] = None,
        limit: int = 5,
    ):
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", WRITE_LINES, out],
            args=[
                IfPresentPlaceholder("data", then=["--data", data.path], else_=["--no-data"]),
                IfPresentPlaceholder("limit", then=["--limit", limit]),
            ],
        )

    @dsl.pipeline
    def maybe_both():
        maybe()
        maybe(data=write(text="a").outputs["data"], limit=7)

    ran = bench.run(maybe_both)
    assert ran.output("maybe", "out").split() == ["--no-data", "--limit", "5"]
    with_data = ran.output("maybe-2", "out").split()
    assert with_data[0] == "--data" and with_data[1].startswith("/")
    assert with_data[2:] == ["--limit", "7"]


@feature("Containers", "Several words, several placeholders in a word; lists and structs as JSON")
def test_kfp_words(bench):
    @dsl.container_component
    def words(items: list, table: dict, flag: bool, real: float, n: int, out: OutputPath(str)):
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", WRITE_LINES, out],
            args=[items, table, flag, real, n, f"{n}+{n}={real}", f"--items={items}", "a b", ""],
        )

    @dsl.pipeline
    def worded() -> str:
        return words(items=[1, "a", 0.5], table={"n": 1}, flag=True, real=2.5, n=2).outputs["out"]

    lines = bench.run(worded).result.split("\n")[:-1]
    assert [line.replace(" ", "") for line in lines[:2]] == ['[1,"a",0.5]', '{"n":1}']
    assert lines[2:6] == ["true", "2.5", "2", "2+2=2.5"]
    assert lines[6].replace(" ", "") == '--items=[1,"a",0.5]' and lines[7:] == ["a b", ""]


@feature("Containers", "Lists of artifacts, and the whole executor input, as JSON")
def test_kfp_the_executor_input(bench):
    @dsl.container_component
    def whole(n: int, parts: Input[List[Dataset]], out: OutputPath(dict)):
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", 'mkdir -p "$(dirname "$1")"; printf "%s" "$0" > "$1"'],
            args=[dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER, out],
        )

    @dsl.pipeline
    def looping() -> dict:
        with dsl.ParallelFor(["a", "b"]) as text:
            made = write(text=text)
        return whole(n=3, parts=dsl.Collected(made.outputs["data"])).outputs["out"]

    told = bench.run(looping).result
    assert told["inputs"]["parameterValues"] == {"n": 3}
    parts = told["inputs"]["artifacts"]["parts"]["artifacts"]
    assert [part["metadata"]["word"] for part in parts] == ["a", "b"]
    assert told["outputs"]["parameters"]["out"]["outputFile"]
    assert told["outputs"]["outputFile"]


@feature("Containers", "The executor's output file, for metadata and parameters")
def test_kfp_the_executor_output(bench):
    @dsl.container_component
    def writing(model: Output[Model], count: OutputPath(int)):
        script = (
            'mkdir -p "$(dirname "$0")" "$(dirname "$1")"; printf x > "$1"; printf "%s" "$2" > "$0"'
        )
        told = {
            "parameterValues": {"count": 7},
            "artifacts": {"model": {"artifacts": [{"metadata": {"accuracy": 0.5, "n": 3}}]}},
        }
        return ContainerSpec(
            image="alpine",
            command=["sh", "-c", script],
            args=[dsl.PIPELINE_TASK_EXECUTOR_OUTPUT_PATH_PLACEHOLDER, model.path, json.dumps(told)],
        )

    @dsl.component(base_image=IMAGE)
    def look(model: Input[Model], count: int) -> str:
        return repr((count, sorted(model.metadata.items())))

    @dsl.pipeline
    def looking() -> str:
        return look(**writing().outputs).output

    assert bench.run(looking).result == "(7, [('accuracy', 0.5), ('n', 3)])"


@feature("Containers", "In loops, conditions and with retries")
def test_kfp_containers_in_groups(bench, tmp_path):
    @dsl.container_component
    def count(path: str, least: int, out: OutputPath(int)):
        script = (
            'printf x >> "$0"; n=$(wc -c < "$0"); mkdir -p "$(dirname "$2")";'
            'printf "%s" "$n" > "$2"; [ "$n" -ge "$1" ]'
        )
        return ContainerSpec(image="alpine", command=["sh", "-c", script], args=[path, least, out])

    @dsl.component(base_image=IMAGE)
    def total(numbers: list) -> int:
        return sum(numbers)

    @dsl.pipeline
    def looping(paths: list) -> int:
        with dsl.ParallelFor(paths) as path:
            each = count(path=path, least=2).set_retry(3, backoff_duration="0s")
            with dsl.If(each.outputs["out"] > 5):
                double(n=each.outputs["out"])
        return total(numbers=dsl.Collected(each.outputs["out"])).output

    ran = bench.run(looping, {"paths": [str(tmp_path / "a"), str(tmp_path / "b")]})
    assert ran.result == 4 and len(ran.not_triggered) == 2
    assert ran.tasks["for-loop-1[0]/count"]["attempt"] == 2


@feature("Containers", "A failing command: exit code and last lines; nothing else stops")
def test_kfp_a_failing_command(bench):
    @dsl.container_component
    def broken():
        script = "echo before; echo 'the reason' >&2; exit 3"
        return ContainerSpec(image="alpine", command=["sh", "-c", script])

    @dsl.container_component
    def silent(out: OutputPath(str)):
        return ContainerSpec(image="alpine", command=["true"], args=[out])

    @dsl.pipeline
    def failing():
        broken()
        silent()
        say(text="independent")

    ran = bench.run(failing)
    assert ran.failed == {"broken", "silent"} and "say" in ran.executed
    assert "3" in ran.error("broken")["message"]
    assert "the reason" in ran.log("broken") and "before" in ran.log("broken")
    assert "out" in ran.error("silent")["message"]


@feature("Containers", "A command that is not on this machine says so")
def test_kfp_a_command_that_is_not_here(bench):
    @dsl.container_component
    def unknown():
        return ContainerSpec(image="alpine", command=["no-such-program-of-mine"])

    @dsl.pipeline
    def running():
        unknown()

    ran = bench.run(running)
    assert ran.failed == {"unknown"}
    assert "no-such-program-of-mine" in ran.error("unknown")["message"]


@feature("Containers", "Each run records how its tasks ran (fidelity)")
def test_kfp_fidelity(bench):
    @dsl.container_component
    def nothing():
        return ContainerSpec(image="alpine", command=["true"])

    @dsl.pipeline
    def mixed():
        say(text="a")
        nothing()

    @dsl.pipeline
    def plain():
        say(text="a")

    assert bench.run(plain).shown["fidelity"] == "forked"
    assert bench.run(mixed).shown["fidelity"] == "host_process"
