"""dsl.importer: files, references to our own data, metadata, loops."""

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model

from seamline.domain.digests import digest_of
from seamline.train.context import ResolvedArtifact

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def read(data: Input[Artifact]) -> str:
    from pathlib import Path

    path = Path(data.path)
    if path.is_dir():
        return ",".join(sorted(one.name for one in path.iterdir()))
    return path.read_text()


@dsl.component(base_image=IMAGE)
def metadata_of(data: Input[Artifact]) -> str:
    return repr(dict(sorted(data.metadata.items())))


@dsl.component(base_image=IMAGE)
def uri_of(data: Input[Artifact]) -> str:
    return data.uri


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@feature("Importers", "A file and a directory, by a constant path and by a parameter")
def test_kfp_import_files(bench, tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.txt").write_text("b")
    constant = f"file://{tmp_path / 'a.txt'}"

    @dsl.pipeline
    def importing(path: str):
        read(data=dsl.importer(artifact_uri=constant, artifact_class=Artifact).output)
        folder = dsl.importer(artifact_uri=path, artifact_class=Dataset)
        read(data=folder.output)

    ran = bench.run(importing, {"path": str(tmp_path / "folder")})
    assert (ran.output("read"), ran.output("read-2")) == ("hello", "b.txt")
    kept = ran.artifact("importer", "artifact")
    assert kept["digest"] == digest_of(b"hello") and kept["type"] == "system.Artifact"
    assert ran.artifact("importer-2", "artifact")["type"] == "system.Dataset"
    assert ran.tasks["importer"]["kind"] == "importer" and "importer" in ran.executed


@feature("Importers", "By the output of a task")
def test_kfp_import_by_an_output(bench, tmp_path):
    (tmp_path / "a.txt").write_text("hello")

    @dsl.pipeline
    def importing(path: str) -> str:
        found = dsl.importer(artifact_uri=say(text=path).output, artifact_class=Dataset)
        return read(data=found.output).output

    assert bench.run(importing, {"path": str(tmp_path / "a.txt")}).result == "hello"


@feature("Importers", "Metadata with references, flowing downstream with its types")
def test_kfp_import_metadata(bench, tmp_path):
    (tmp_path / "a.txt").write_text("hello")

    @dsl.pipeline
    def importing(path: str, who: str) -> str:
        found = dsl.importer(
            artifact_uri=path,
            artifact_class=Model,
            reimport=True,
            metadata={
                "who": who,
                "said": f"by {who}: {say(text='hi').output}",
                "deep": {"n": 3, "list": [1, who], "half": 0.5, "on": True},
            },
        )
        return metadata_of(data=found.output).output

    ran = bench.run(importing, {"path": str(tmp_path / "a.txt"), "who": "it's é"})
    assert eval(ran.result) == {
        "who": "it's é",
        "said": "by it's é: hi",
        "deep": {"n": 3, "list": [1, "it's é"], "half": 0.5, "on": True},
    }
    assert "'n': 3," in ran.result or "'n': 3}" in ran.result


@feature("Importers", "In a loop, and in a condition")
def test_kfp_import_in_a_loop(bench, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"content of {name}")

    @dsl.pipeline
    def importing(paths: list, flag: str):
        with dsl.ParallelFor(paths) as path:
            found = dsl.importer(
                artifact_uri=path, artifact_class=Dataset, metadata={"from": f"<{path}>"}
            )
            read(data=found.output)
            metadata_of(data=found.output)
        with dsl.If(flag == "more"):
            read(data=dsl.importer(artifact_uri=flag, artifact_class=Dataset).output)

    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    ran = bench.run(importing, {"paths": paths, "flag": "no"})
    assert [ran.output(f"for-loop-1[{i}]/read") for i in (0, 1)] == ["content of a", "content of b"]
    assert eval(ran.output("for-loop-1[1]/metadata-of")) == {"from": f"<{paths[1]}>"}
    assert ran.not_triggered == {"condition-2/importer-2", "condition-2/read-2"}
    assert ran.state == "succeeded"


@feature("Importers", "datasets:// and models://: what they resolve to, pinned, with its metadata")
@pytest.mark.parametrize("scheme", ["datasets", "models"])
def test_kfp_import_references(bench, tmp_path, resolved, scheme):
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "part.parquet").write_bytes(b"x")
    named, exact = f"{scheme}://kfp-flights", f"{scheme}://kfp-flights@7"
    pinned = ResolvedArtifact(folder, digest_of(b"7"), {"version": 7}, exact)
    resolved |= {named: pinned, exact: pinned}

    @dsl.pipeline
    def importing(uri: str):
        found = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"who": "me"})
        read(data=found.output)
        metadata_of(data=found.output)
        uri_of(data=found.output)

    ran = bench.run(importing, {"uri": named})
    assert ran.output("read") == "part.parquet"
    assert ran.output("metadata-of") == "{'version': 7, 'who': 'me'}"
    assert ran.output("uri-of") == exact
    assert ran.artifact("importer", "artifact")["digest"] == digest_of(b"7")


@feature("Importers", "Imported artifacts in nested pipelines and as outputs")
def test_kfp_import_in_a_nested_pipeline(bench, tmp_path):
    (tmp_path / "a.txt").write_text("hello")

    @dsl.pipeline
    def fetch(path: str) -> Dataset:
        return dsl.importer(artifact_uri=path, artifact_class=Dataset).output

    @dsl.pipeline
    def importing(path: str) -> str:
        return read(data=fetch(path=path).output).output

    assert bench.run(importing, {"path": str(tmp_path / "a.txt")}).result == "hello"


@feature("Importers", "What is not there fails its task, and says what can be imported")
@pytest.mark.parametrize("uri", ["/no/such/file", "relative.txt", "file:///no/such"])
def test_kfp_import_what_is_not_there(bench, uri):
    @dsl.pipeline
    def importing(uri: str):
        read(data=dsl.importer(artifact_uri=uri, artifact_class=Dataset).output)
        say(text="independent")

    ran = bench.run(importing, {"uri": uri})
    assert (ran.failed, ran.upstream_failed) == ({"importer"}, {"read"})
    assert uri in ran.error("importer")["message"] and "say" in ran.executed


@feature("Importers", "An imported file that changes is imported as it is now")
def test_kfp_import_a_changed_file(bench, tmp_path):
    """With the cache on, too: what an importer points at may have changed."""
    path = tmp_path / "a.txt"

    @dsl.pipeline
    def importing(path: str) -> str:
        return read(data=dsl.importer(artifact_uri=path, artifact_class=Dataset).output).output

    for text in ("one", "two"):
        path.write_text(text)
        assert bench.run(importing, {"path": str(path)}, cache=None).result == text
