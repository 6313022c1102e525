"""Artifacts: all kinds, metadata that flows downstream, paths, lists, returned and written."""

from typing import List, NamedTuple, Optional

import pytest
from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    InputPath,
    Markdown,
    Metrics,
    Model,
    Output,
    OutputPath,
    SlicedClassificationMetrics,
)

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    from pathlib import Path

    Path(data.path).write_text(text)
    data.metadata.update(rows=len(text), share=0.5, tags=["a"], deep={"n": [1, 2]}, on=True)


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    from pathlib import Path

    return Path(data.path).read_text()


@dsl.component(base_image=IMAGE)
def copy(data: Input[Dataset], more: Output[Dataset]):
    import shutil

    shutil.copy(data.path, more.path)
    more.metadata.update(data.metadata, copied=data.metadata["rows"] + 1)


@dsl.component(base_image=IMAGE)
def metadata_of(data: Input[Artifact]) -> str:
    return repr(dict(sorted(data.metadata.items())))


@feature("Artifacts", "Every system type, with the type, metadata and bytes that were written")
def test_kfp_every_system_type(bench):
    @dsl.component(base_image=IMAGE)
    def make_all(
        artifact: Output[Artifact],
        dataset: Output[Dataset],
        model: Output[Model],
        html: Output[HTML],
        markdown: Output[Markdown],
    ):
        from pathlib import Path

        for made in (artifact, dataset, model, html, markdown):
            Path(made.path).write_text(f"<{made.name}>")
            made.metadata["by"] = type(made).__name__
        model.framework = "none"

    @dsl.component(base_image=IMAGE)
    def use_all(
        artifact: Input[Artifact],
        dataset: Input[Dataset],
        model: Input[Model],
        html: Input[HTML],
        markdown: Input[Markdown],
    ) -> list:
        from pathlib import Path

        return [
            [type(got).__name__, got.metadata["by"], Path(got.path).read_text()]
            for got in (artifact, dataset, model, html, markdown)
        ] + [model.framework]

    @dsl.pipeline
    def all_types() -> list:
        return use_all(**make_all().outputs).output

    ran = bench.run(all_types)
    names = ["artifact", "dataset", "model", "html", "markdown"]
    kinds = ["Artifact", "Dataset", "Model", "HTML", "Markdown"]
    assert ran.result == [
        *([kind, kind, f"<{name}>"] for name, kind in zip(names, kinds, strict=True)),
        "none",
    ]
    for name, kind in zip(names, kinds, strict=True):
        assert ran.artifact("make-all", name)["type"] == f"system.{kind}"
        assert ran.content("make-all", name) == f"<{name}>"


@feature("Artifacts", "Metrics, ClassificationMetrics and SlicedClassificationMetrics")
def test_kfp_metrics(bench):
    @dsl.component(base_image=IMAGE)
    def measure(
        plain: Output[Metrics],
        curve: Output[ClassificationMetrics],
        sliced: Output[SlicedClassificationMetrics],
    ):
        plain.log_metric("accuracy", 0.75)
        plain.log_metric("rows", 3)
        curve.log_roc_curve([0.0, 0.5], [0.25, 1.0], [0.9, 0.1])
        curve.log_confusion_matrix(["cat", "dog"], [[3, 1], [0, 2]])
        # Its log methods raise AttributeError in kfp 2.16: people fill in the metadata.
        sliced.metadata["evaluationSlices"] = [{"slice": "all", "rows": 3}]

    @dsl.component(base_image=IMAGE)
    def judge(plain: Input[Metrics], curve: Input[ClassificationMetrics]) -> str:
        points = curve.metadata["confidenceMetrics"]
        rows = curve.metadata["confusionMatrix"]["rows"]
        return repr((plain.metadata["accuracy"], plain.metadata["rows"], points[1], rows))

    @dsl.pipeline
    def measured() -> str:
        made = measure().outputs
        return judge(plain=made["plain"], curve=made["curve"]).output

    ran = bench.run(measured)
    point = {"confidenceThreshold": 0.1, "recall": 1.0, "falsePositiveRate": 0.5}
    assert ran.artifact("measure", "plain")["metadata"] == {"accuracy": 0.75, "rows": 3}
    sliced = ran.artifact("measure", "sliced")
    assert sliced["type"] == "system.SlicedClassificationMetrics"
    assert sliced["metadata"] == {"evaluationSlices": [{"slice": "all", "rows": 3}]}
    seen, rows, last, matrix = eval(ran.result)
    assert (seen, rows, last) == (0.75, 3, point)
    assert matrix == [{"row": [3, 1]}, {"row": [0, 2]}]


@feature("Artifacts", "Metadata flows downstream, with its types")
def test_kfp_metadata_flows_downstream(bench, exactly):
    @dsl.pipeline
    def flowing() -> str:
        first = copy(data=write(text="abc").outputs["data"])
        second = copy(data=first.outputs["more"])
        return metadata_of(data=second.outputs["more"]).output

    ran = bench.run(flowing)
    expected = {"copied": 4, "deep": {"n": [1, 2]}, "on": True, "rows": 3, "share": 0.5}
    expected["tags"] = ["a"]
    assert ran.result == repr(expected)
    assert exactly(ran.artifact("copy-2", "more")["metadata"]) == exactly(expected)
    assert "copied" not in ran.artifact("write", "data")["metadata"]


@feature("Artifacts", "Types of one's own (schema_title of a library), read as a generic one")
def test_kfp_an_artifact_type_of_ones_own(bench):
    @dsl.pipeline
    def typed() -> str:
        return metadata_of(data=write(text="ab").outputs["data"]).output

    ir = bench.compile(typed)
    assert b"system.Dataset" in ir
    ran = bench.run(ir.replace(b"system.Dataset", b"acme.FeatureTable"))
    assert "'rows': 2" in ran.result
    assert ran.artifact("write", "data")["type"] == "acme.FeatureTable"


@feature("Artifacts", "A directory as an artifact")
def test_kfp_a_directory(bench):
    @dsl.component(base_image=IMAGE)
    def write_folder(model: Output[Model]):
        from pathlib import Path

        root = Path(model.path)
        (root / "deep" / "er").mkdir(parents=True)
        (root / "weights.bin").write_bytes(bytes(range(256)))
        (root / "deep" / "er" / "é.txt").write_text("ü")
        (root / "empty.txt").touch()

    @dsl.component(base_image=IMAGE)
    def list_folder(model: Input[Model]) -> list:
        from pathlib import Path

        root = Path(model.path)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return [[str(path.relative_to(root)), path.stat().st_size] for path in files]

    @dsl.pipeline
    def folder() -> list:
        return list_folder(model=write_folder().outputs["model"]).output

    expected = [["deep/er/é.txt", 2], ["empty.txt", 0], ["weights.bin", 256]]
    assert bench.run(folder).result == expected


@feature("Artifacts", "InputPath and OutputPath of artifacts")
def test_kfp_input_path_and_output_path(bench):
    @dsl.component(base_image=IMAGE)
    def write_to(path: OutputPath("Dataset")):
        from pathlib import Path

        Path(path).write_text("abc")

    @dsl.component(base_image=IMAGE)
    def read_from(path: InputPath("Dataset"), count: OutputPath(int)):
        from pathlib import Path

        Path(count).write_text(str(len(Path(path).read_text())))

    @dsl.component(base_image=IMAGE)
    def double(n: int) -> int:
        return 2 * n

    @dsl.pipeline
    def by_path() -> int:
        counted = read_from(path=write_to().outputs["path"])
        return double(n=counted.outputs["count"]).output

    assert repr(bench.run(by_path).result) == "6"


@feature("Artifacts", "Returned artifacts: by value, as an object, in a NamedTuple")
def test_kfp_returned_artifacts(bench):
    @dsl.component(base_image=IMAGE)
    def by_value() -> Dataset:
        return "the content"

    @dsl.component(base_image=IMAGE)
    def as_object() -> Dataset:
        made = dsl.Dataset(uri=dsl.get_uri(), metadata={"made": "by hand"})
        with open(made.path, "w") as file:
            file.write("of an object")
        return made

    class Both(NamedTuple):
        data: Dataset
        count: int

    @dsl.component(base_image=IMAGE)
    def in_a_tuple() -> NamedTuple("Both", [("data", Dataset), ("count", int)]):
        return ("in a tuple", 2)

    @dsl.pipeline
    def returned() -> Both:
        read(data=by_value().output)
        made = as_object()
        read(data=made.output)
        metadata_of(data=made.output)
        both = in_a_tuple()
        read(data=both.outputs["data"])
        return Both(data=both.outputs["data"], count=both.outputs["count"])

    ran = bench.run(returned)
    assert [ran.output(task) for task in ("read", "read-2", "read-3")] == [
        "the content",
        "of an object",
        "in a tuple",
    ]
    assert ran.output("metadata-of") == "{'made': 'by hand'}"
    assert ran.outputs == {"count": 2} and ran.result_content("data") == "in a tuple"


@feature("Artifacts", "A path of the task's own choice (custom_path, a new uri)")
def test_kfp_a_path_of_ones_own(bench):
    @dsl.component(base_image=IMAGE)
    def elsewhere(by_path: Output[Dataset], by_uri: Output[Model]):
        import os
        import tempfile

        folder = tempfile.mkdtemp()
        by_path.custom_path = os.path.join(folder, "by_path.txt")
        by_uri.uri = os.path.join(folder, "by_uri")
        os.mkdir(by_uri.uri)
        for path in (by_path.path, os.path.join(by_uri.path, "weights")):
            with open(path, "w") as file:
                file.write(os.path.basename(path))
        by_path.metadata["custom"] = True

    @dsl.component(base_image=IMAGE)
    def look(data: Input[Dataset], model: Input[Model]) -> str:
        from pathlib import Path

        weights = Path(model.path, "weights").read_text()
        return f"{Path(data.path).read_text()} {weights} {data.metadata['custom']}"

    @dsl.pipeline
    def custom() -> str:
        made = elsewhere().outputs
        return look(data=made["by_path"], model=made["by_uri"]).output

    assert bench.run(custom).result == "by_path.txt weights True"


@feature("Artifacts", "A path of the task's own choice (custom_path, a new uri)")
def test_kfp_a_file_next_to_its_path(bench):
    """Many libraries insist on an ending of their own."""

    @dsl.component(base_image=IMAGE)
    def with_ending(model: Output[Model]):
        model.uri += ".json"
        with open(model.path, "w") as file:
            file.write("{}")

    @dsl.component(base_image=IMAGE)
    def ending(model: Input[Model]) -> str:
        from pathlib import Path

        return Path(model.path).read_text()

    @dsl.pipeline
    def suffixed() -> str:
        return ending(model=with_ending().outputs["model"]).output

    assert bench.run(suffixed).result == "{}"


@feature("Artifacts", "Optional input artifacts: given, or not")
def test_kfp_optional_artifacts(bench):
    @dsl.component(base_image=IMAGE)
    def maybe(data: Optional[Input[Dataset]] = None) -> str:
        from pathlib import Path

        return "nothing" if data is None else Path(data.path).read_text()

    @dsl.pipeline
    def inner(data: Optional[Input[Dataset]] = None) -> str:
        return maybe(data=data).output

    @dsl.pipeline
    def outer():
        made = write(text="abc")
        maybe()
        maybe(data=made.outputs["data"])
        inner()
        inner(data=made.outputs["data"])

    ran = bench.run(outer)
    assert (ran.output("maybe"), ran.output("maybe-2")) == ("nothing", "abc")
    assert (ran.output("inner/maybe"), ran.output("inner-2/maybe")) == ("nothing", "abc")


@feature("Artifacts", "Lists of artifacts as an input")
def test_kfp_a_list_of_artifacts(bench):
    @dsl.component(base_image=IMAGE)
    def join(parts: Input[List[Dataset]]) -> str:
        from pathlib import Path

        return " ".join(f"{Path(p.path).read_text()}:{p.metadata['rows']}" for p in parts)

    @dsl.pipeline
    def joined() -> str:
        with dsl.ParallelFor(["a", "bb", "ccc"]) as text:
            made = write(text=text)
        return join(parts=dsl.Collected(made.outputs["data"])).output

    assert bench.run(joined).result == "a:1 bb:2 ccc:3"


@feature("Artifacts", "A task's copy is its own: changing an input leaves the artifact as it is")
def test_kfp_changing_an_input_changes_nothing(bench):
    @dsl.component(base_image=IMAGE)
    def scribble(data: Input[Dataset]) -> str:
        import os
        from pathlib import Path

        path = Path(data.path)
        try:
            os.chmod(path, 0o666)
            path.write_text("scribbled")
        except OSError:
            pass
        return data.uri

    @dsl.pipeline
    def scribbled() -> str:
        made = write(text="abc")
        first = scribble(data=made.outputs["data"])
        return read(data=made.outputs["data"]).after(first).output

    assert bench.run(scribbled).result == "abc"


@feature("Artifacts", "A declared artifact that is not written fails its task, and says which")
def test_kfp_an_artifact_that_is_not_written(bench):
    @dsl.component(base_image=IMAGE)
    def forget(model: Output[Model], kept: Output[Metrics], count: OutputPath(int)):
        kept.log_metric("a", 1)

    @dsl.component(base_image=IMAGE)
    def use(model: Input[Model]):
        pass

    @dsl.pipeline
    def forgotten():
        use(model=forget().outputs["model"])

    ran = bench.run(forgotten)
    assert (ran.failed, ran.upstream_failed, ran.executed) == ({"forget"}, {"use"}, {"forget"})
    message = ran.error("forget")["message"]
    assert "model" in message and "count" in message and "kept" not in message
