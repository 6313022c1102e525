"""Command lines of container components: compiled by the real SDK, filled in from an input."""

import json
from typing import Optional

import pytest
from kfp import dsl
from kfp.dsl import Artifact, ContainerSpec, Dataset, Input, Model, Output, OutputPath

from seamline.domain.errors import InvalidInput
from seamline.train.ir.command import (
    expand_variables,
    fill_environment,
    fill_text,
    fill_words,
    local_path,
    parse_word,
)
from seamline.train.ir.reader import read_pipeline

EXECUTOR_INPUT = {
    "inputs": {
        "parameterValues": {
            "text": "it's {{$.inputs.parameters['n']}} $(HOME)",
            "n": 3,
            "ratio": 0.5,
            "whole": 2.0,
            "flag": True,
            "items": [1.0, "a"],
            "absent": None,
        },
        "artifacts": {
            "model": {
                "artifacts": [
                    {
                        "name": "runs/1/model",
                        "type": {"schemaTitle": "system.Model"},
                        "uri": "file:///data/model",
                        "metadata": {"rows": 4.0, "owner": "ana", "tags": ["x"]},
                    }
                ]
            },
            "many": {"artifacts": [{"uri": "/a"}, {"uri": "/b"}]},
            "none": None,
        },
    },
    "outputs": {
        "parameters": {"score": {"outputFile": "/out/score"}},
        "artifacts": {"made": {"artifacts": [{"uri": "s3://bucket/made", "metadata": {}}]}},
        "outputFile": "/out/executor_output.json",
    },
}


def run_name(name: str) -> str:
    return f"<{name}>"


def filled(*words):
    return fill_words(words, EXECUTOR_INPUT, run_name)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("plain", "plain"),
        ("{{$.inputs.parameters['n']}}", "3"),
        ('{{$.inputs.parameters["n"]}}', "3"),
        ("--n={{$.inputs.parameters['n']}}x", "--n=3x"),
        ("{{$.inputs.parameters['ratio']}} {{$.inputs.parameters['whole']}}", "0.5 2"),
        ("{{$.inputs.parameters['flag']}}", "true"),
        ("{{$.inputs.parameters['items']}}", '[1, "a"]'),
        ("{{$.inputs.parameters['absent']}}", "null"),
        ("{{$.inputs.artifacts['model'].uri}}", "file:///data/model"),
        ("{{$.inputs.artifacts['model'].path}}", "/data/model"),
        ("{{$.inputs.artifacts['model'].name}}", "runs/1/model"),
        ("{{$.inputs.artifacts['model'].metadata['rows']}}", "4"),
        ("{{$.inputs.artifacts['model'].metadata['owner']}}", "ana"),
        ("{{$.inputs.artifacts['model'].metadata}}", '{"rows": 4, "owner": "ana", "tags": ["x"]}'),
        ("{{$.inputs.artifacts['none'].path}}", "null"),
        ("{{$.outputs.parameters['score'].output_file}}", "/out/score"),
        ("{{$.outputs.artifacts['made'].uri}}", "s3://bucket/made"),
        ("{{$.outputs.artifacts['made'].path}}", "/s3/bucket/made"),
        ("{{$.outputs.artifacts['made'].metadata}}", "{}"),
        ("{{$.outputs.artifacts['made'].metadata['k']}}", "null"),
        ("{{$.outputs.output_file}}", "/out/executor_output.json"),
        ("{{$.outputMetadataUri}}", "/out/executor_output.json"),
        ("{{$.pipeline_job_name}}/{{$.pipeline_root}}", "<pipeline_job_name>/<pipeline_root>"),
        ("{{$.workspace_path}}/x", "<workspace_path>/x"),
        ("{{$x}} {{ $.n }} {{$.no_such_thing}}", "{{$x}} {{ $.n }} {{$.no_such_thing}}"),
    ],
)  # fmt: skip
def test_every_placeholder(word, text):
    assert filled(word) == [text]


def test_the_whole_input_and_lists_of_artifacts_are_json():
    whole, listed = filled("{{$}}", "{{$.inputs.artifacts['many']}}")
    assert json.loads(whole) == EXECUTOR_INPUT
    assert json.loads(listed) == {"artifacts": [{"uri": "/a"}, {"uri": "/b"}]}


def test_escapes_make_a_json_text_inside_json_texts():
    items = "{{$.inputs.parameters['items'].json_escape[1]}}"
    spec = json.loads(filled(f'{{"spec": "{{{{$.json_escape[1]}}}}", "items": "{items}"}}')[0])
    assert json.loads(spec["spec"]) == EXECUTOR_INPUT
    assert json.loads(spec["items"]) == [1, "a"]
    twice = filled('["[\\"{{$.inputs.parameters[\'text\'].json_escape[2]}}\\"]"]')[0]
    assert json.loads(json.loads(twice)[0]) == [EXECUTOR_INPUT["inputs"]["parameterValues"]["text"]]


def test_data_is_not_read_again():
    text = EXECUTOR_INPUT["inputs"]["parameterValues"]["text"]
    assert filled("{{$.inputs.parameters['text']}}") == [text]
    env = {"A": "{{$.inputs.parameters['text']}}", "B": "$(A)"}
    assert fill_environment(env, EXECUTOR_INPUT, run_name, {"HOME": "/root"}) == {
        "A": text,
        "B": text,
    }


def test_metadata_that_is_not_there_is_named():
    with pytest.raises(InvalidInput, match=r"'model' has no metadata 'row'.*Did you mean rows"):
        filled("{{$.inputs.artifacts['model'].metadata['row']}}")


@pytest.mark.parametrize(
    ("word", "texts"),
    [
        ({"Concat": ["a", "{{$.inputs.parameters['n']}}", "b"]}, ["a3b"]),
        ({"IfPresent": {"InputName": "n", "Then": "{{$.inputs.parameters['n']}}"}}, ["3"]),
        ({"IfPresent": {"InputName": "n", "Then": ["--n", "{{$.inputs.parameters['n']}}"]}},
         ["--n", "3"]),
        ({"IfPresent": {"InputName": "absent", "Then": ["--x", "1"]}}, []),
        ({"IfPresent": {"InputName": "absent", "Then": "1", "Else": "2"}}, ["2"]),
        ({"IfPresent": {"InputName": "absent", "Then": "1", "Else": ["2", "3"]}}, ["2", "3"]),
        ({"IfPresent": {"InputName": "model", "Then": "there"}}, ["there"]),
        ({"IfPresent": {"InputName": "none", "Then": "there"}}, []),
        ({"Concat": ["a", {"IfPresent": {"InputName": "absent", "Then": "1"}}, "b"]}, ["ab"]),
        ({"Concat": ["a", {"Concat": ["b", {"IfPresent": {"InputName": "n", "Then":
          {"Concat": ["c", "{{$.inputs.parameters['n']}}"]}}}]}]}, ["abc3"]),
        ({"IfPresent": {"InputName": "absent", "Then": "1", "Else": {"IfPresent":
          {"InputName": "n", "Then": ["2", {"Concat": ["3", "4"]}]}}}}, ["2", "34"]),
    ],
)  # fmt: skip
def test_struct_placeholders(word, texts):
    assert parse_word(json.dumps(word)) == word
    assert filled("first", word, "last") == ["first", *texts, "last"]


@pytest.mark.parametrize(
    "word", ['{"Concat": "a"}', '{"Concat": [3]}', '{"IfPresent": {"Then": "a"}}',
             '{"IfPresent": {"InputName": "a", "Then": [{"Concat": null}]}}',
             '{"IfPresent": {"InputName": "a", "Then": "b", "Otherwise": "c"}}']
)  # fmt: skip
def test_struct_placeholders_of_another_shape_are_refused(word):
    with pytest.raises(InvalidInput, match="neither text nor a Concat nor an IfPresent"):
        parse_word(word)


@pytest.mark.parametrize("text", ['{"Concat": [', '{"a": {"Concat": []}}', '{"Concat":[]}', "{}"])
def test_other_json_is_text(text):
    assert parse_word(text) == text


def test_variables_expand_as_in_kubernetes():
    env = {
        "A": "1",
        "B": "$(A)2",
        "C": "$$(A) $$$(A) $(B) $(NO) $(TOKEN) $x $",
        "A2": "$(D)",
        "D": "d",
    }
    assert fill_environment(env, EXECUTOR_INPUT, run_name, {"TOKEN": "secret"}) == {
        "A": "1", "B": "12", "C": "$(A) $1 12 $(NO) secret $x $", "A2": "$(D)", "D": "d",
    }  # fmt: skip
    assert expand_variables("echo $(A) $(date) $$", {"A": "1"}) == "echo 1 $(date) $"
    assert fill_environment({"N": "n{{$.inputs.parameters['n']}}"}, EXECUTOR_INPUT, run_name) == {
        "N": "n3"
    }


def test_images_and_resources():
    assert (
        fill_text("python:3.{{$.inputs.parameters['n']}}", EXECUTOR_INPUT, run_name) == "python:3.3"
    )


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/data/x", "/data/x"),
        ("file:///data/x", "/data/x"),
        ("gs://bucket/x", "/gcs/bucket/x"),
        ("minio://bucket/x", "/minio/bucket/x"),
        ("oci://host/team/model:1", "/oci/host_team_model:1/models"),
    ],
)
def test_local_paths(uri, path):
    assert local_path(uri) == path


# -- as the SDK compiles them ------------------------------------------------------------------
@dsl.container_component
def shell(
    text: str,
    count: int,
    data: Input[Dataset],
    made: Output[Model],
    score: OutputPath(float),
    extra: Optional[Input[Artifact]] = None,  # noqa: UP045  the SDK knows no other spelling here
    note: Optional[str] = None,  # noqa: UP045
):
    return ContainerSpec(
        image="busybox",
        command=["sh", "-c", dsl.ConcatPlaceholder(["cat ", data.path, " > ", made.path])],
        args=[
            f"{text}-{count}",
            dsl.IfPresentPlaceholder("note", then=["--note", note], else_=["--silent"]),
            dsl.IfPresentPlaceholder("extra", then=extra.uri),
            dsl.ConcatPlaceholder(
                ["--n=", dsl.IfPresentPlaceholder("note", then=note, else_="none")]
            ),
            score,
            data.metadata["rows"],
            dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        ],
    )


@dsl.pipeline
def shelling():
    data = dsl.importer(artifact_uri="gs://bucket/data", artifact_class=Dataset).output
    shell(text="a", count=2, data=data)


def test_a_compiled_container_component(compile_ir):
    body = read_pipeline(compile_ir(shelling)).components["comp-shell"].body
    assert (body.image, body.function) == ("busybox", None)
    executor_input = {
        "inputs": {
            "parameterValues": {"text": "it's", "count": 2},
            "artifacts": {"data": {"artifacts": [{"uri": "/d", "metadata": {"rows": 7}}]}},
        },
        "outputs": {
            "parameters": {"score": {"outputFile": "/o/score"}},
            "artifacts": {"made": {"artifacts": [{"uri": "/o/made"}]}},
        },
    }
    assert fill_words(body.command, executor_input, run_name) == ["sh", "-c", "cat /d > /o/made"]
    rest = ["--n=none", "/o/score", "7", "<pipeline_job_uuid>"]
    assert fill_words(body.args, executor_input, run_name) == ["it's-2", "--silent", *rest]
    executor_input["inputs"]["parameterValues"]["note"] = "n"
    executor_input["inputs"]["artifacts"]["extra"] = {"artifacts": [{"uri": "/e"}]}
    rest[0] = "--n=n"
    assert fill_words(body.args, executor_input, run_name) == ["it's-2", "--note", "n", "/e", *rest]
