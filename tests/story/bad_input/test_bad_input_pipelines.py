"""Files that are no compiled pipeline, pushed and submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdef", "bcdefg", strict=True)
)
FILES = {
    "empty.yaml": (b"", "it is empty"),
    "binary.yaml": (bytes(range(256)) * 8, "it is no YAML"),
    "scalar.yaml": (b"hello\n", "its first document is no mapping"),
    "list.yaml": (b"- a\n", "its first document is no mapping"),
    "other.yaml": (b"a: [1, 2]\n", "it has no schemaVersion, pipelineInfo, root"),
    "half.yaml": (b"a: [1, 2\n", "it is no YAML"),
    "source.yaml": (b"from kfp import dsl\nx: int = {\n", "it is no YAML"),
    "object.yaml": (b"!!python/object/apply:os.system ['true']\n", "it is no YAML"),
    "deep.yaml": (b"[" * 100_000 + b"]" * 100_000, "it nests deeper than 200 levels"),
    "deep.json": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "it nests deeper than 200 levels"),
    "laughs.yaml": (LAUGHS.encode(), "it has no schemaVersion, pipelineInfo, root"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_input_files_that_are_no_pipeline(kiosk: Any, tmp_path: Path, name: str) -> None:
    data, why = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with kiosk.untouched():
        pushed = kiosk.person.is_refused("pipeline", "push", str(path), "--tag", "9")
        submitted = kiosk.person.is_refused("run", "submit", str(path))
    assert pushed.startswith(f"invalid_input: This is not a compiled pipeline: {why}")
    assert "kfp.compiler.Compiler()" in pushed
    assert submitted.startswith("invalid_input: ")


def test_bad_input_a_pipeline_file_that_cannot_be_read(kiosk: Any, tmp_path: Path) -> None:
    for words in (("pipeline", "push"), ("run", "submit")):
        said = kiosk.person.is_refused(*words, str(tmp_path / "none.yaml"))
        assert said == (
            f"invalid_input: {tmp_path / 'none.yaml'} cannot be read: No such file or directory."
        )
    said = kiosk.person.is_refused("pipeline", "push", str(tmp_path))
    assert said == f"invalid_input: {tmp_path} cannot be read: Is a directory."


@pytest.mark.parametrize("tag", ["a b", "../x", "-x", "x" * 129, "ü", "sha256:aa"])
def test_bad_input_tags_that_cannot_be(kiosk: Any, tag: str) -> None:
    with kiosk.untouched():
        said = kiosk.person.is_refused("pipeline", "push", "training.yaml", "--tag=" + tag)
    assert said.startswith(f"invalid_input: {tag!r} cannot be a tag. Use letters")


def test_bad_input_a_source_file_is_no_reference(kiosk: Any) -> None:
    said = kiosk.person.is_refused("run", "submit", "training.py")
    assert said == (
        "invalid_input: training.py is source code. Compile it, and submit the YAML that comes out."
    )


def test_bad_input_an_argument_that_names_no_dataset_fails_the_run(kiosk: Any) -> None:
    words = ("run", "submit", "sales-training@1.0.0", "-a", "sales=datasets://saless", "--wait")
    said = kiosk.person.is_refused(*words)
    assert said.startswith("refused: Run ")
    assert "There is no dataset 'saless'. Did you mean sales?" in said


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_bad_input_a_pipeline_runs_where_no_release_is_live(kiosk: Any, environment: str) -> None:
    with kiosk.untouched():
        said = kiosk.person.is_refused("run", "submit", "sales-training@1.0.0", "-e", environment)
    assert said == (
        f"refused: This pipeline cannot run in {environment}: no release is live there. "
        "Release that would be needed: first. Promote it: "
        f"seamline promote first --to {environment}."
    )


def test_bad_input_a_foreign_pipeline_in_an_environment(kiosk: Any, tmp_path: Path) -> None:
    changed = (kiosk.person.folder / "training.yaml").read_text().replace("# Name", "# name")
    (tmp_path / "changed.yaml").write_text(changed)
    with kiosk.untouched():
        said = kiosk.person.is_refused(
            "run", "submit", str(tmp_path / "changed.yaml"), "-e", "development"
        )
    assert "cannot run in development: the live release first (" in said
    assert said.endswith("does not hold it. Make a release that holds it, and promote that.")


def test_bad_input_a_pipeline_that_merely_bears_the_name_makes_no_model(
    kiosk: Any, tmp_path: Path
) -> None:
    changed = (kiosk.person.folder / "training.yaml").read_text().replace("# Name", "# name")
    (tmp_path / "changed.yaml").write_text(changed)
    versions = kiosk.person.data("model", "list")
    run = kiosk.person.data("run", "submit", str(tmp_path / "changed.yaml"))
    said = kiosk.person.is_refused("run", "wait", run["id"])
    assert said.startswith(f"refused: Run {run['id']} succeeded, but ice-cream was refused: ")
    assert "  ice-cream was refused: " in kiosk.person.types("run", "show", run["id"]).out
    assert "was not published as sales-training" in _refusals(kiosk, run["id"])[0]
    assert kiosk.person.data("model", "list") == versions


def _refusals(kiosk: Any, run_id: str) -> list[str]:
    facts = kiosk.person.data("audit", "log", "--subject", "ice-cream")
    return [one["body"]["reason"] for one in facts if one["body"].get("run_id") == run_id]
