"""`seamline pipeline …` against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from seamline.cli.root import seamline
from seamline.domain.errors import DigestMismatch, InvalidInput, NotFound, Refused
from seamline.domain.settings import Settings
from seamline.server import serve_in_process

Pipeline = Callable[..., Any]
DAY = {"day": {"parameterType": "STRING", "description": "Of the flights."}}
HOUR = {"hour": {"parameterType": "NUMBER_INTEGER", "defaultValue": 6, "isOptional": True}}


def ir(inputs: dict[str, Any], note: str = "") -> bytes:
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "delays"},
        "components": {"comp-work": {"executorLabel": "exec-work"}},
        "deploymentSpec": {"executors": {"exec-work": {"container": {"image": f"i{note}"}}}},
        "root": {
            "dag": {"tasks": {"work": {"componentRef": {"name": "comp-work"}}}},
            "inputDefinitions": {"parameters": inputs},
        },
    }
    return f"# {note}\n{json.dumps(document)}\n---\nplatforms: {{}}\n".encode()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli") / "workspace"


@pytest.fixture(scope="module")
def url(workspace: Path) -> Iterator[str]:
    with serve_in_process(Settings(workspace=workspace, slots=1)) as address:
        yield address


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    """One per test, in one workspace."""
    return f"tests/{request.node.name.replace('_', '-')[:60]}"


@pytest.fixture
def invoke(url: str, repository: str) -> Callable[..., Result]:
    def run(name: str, *words: str) -> Result:
        named = [] if name == "outdated" else ["--repository", repository]
        return CliRunner().invoke(seamline, ["--url", url, "pipeline", name, *words, *named])

    return run


@pytest.fixture
def pipeline(invoke: Callable[..., Result]) -> Pipeline:
    """The JSON of a command that is to end well."""

    def run(name: str, *words: str) -> Any:
        done = invoke(name, *words, "--json")
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    return run


@pytest.fixture
def publish(pipeline: Pipeline, tmp_path: Path) -> Callable[..., str]:
    def run(data: bytes, *tags: str) -> str:
        path = tmp_path / "published.yaml"
        path.write_bytes(data)
        words = [word for tag in tags for word in ("--tag", tag)]
        return str(pipeline("push", str(path), *words)["digest"])

    return run


def test_pull_is_byte_exact(
    pipeline: Pipeline, publish: Callable[..., str], tmp_path: Path, invoke: Callable[..., Result]
) -> None:
    digest = publish(ir(DAY), "1.0.0")
    for reference in ("delays@1.0.0", f"delays@{digest}"):
        target = tmp_path / "new" / "pulled.yaml"
        (row,) = pipeline("pull", reference, "-o", str(target))
        assert row["digest"] == digest
        assert target.read_bytes() == ir(DAY)
    pipeline("pull", "Delays@1.0.0", "-d", str(tmp_path))
    assert (tmp_path / "delays.yaml").read_bytes() == ir(DAY)
    assert isinstance(invoke("pull", "delays@1.0.1").exception, NotFound)
    assert isinstance(invoke("pull", "delays").exception, InvalidInput)
    assert invoke("pull").exit_code == 2


def test_altered_bytes_are_not_pulled(
    publish: Callable[..., str], invoke: Callable[..., Result], workspace: Path, tmp_path: Path
) -> None:
    digest = publish(ir(DAY, "altered"), "1.0.0")
    hexadecimal = digest.removeprefix("sha256:")
    stored = next(path for path in workspace.rglob(hexadecimal[2:]) if path.is_file())
    stored.write_bytes(ir(HOUR, "altered"))
    target = tmp_path / "pulled.yaml"
    done = invoke("pull", "delays@1.0.0", "-o", str(target))
    assert isinstance(done.exception, Refused | DigestMismatch)
    assert not target.exists()


def test_tag_and_show(
    pipeline: Pipeline, publish: Callable[..., str], invoke: Callable[..., Result], tmp_path: Path
) -> None:
    first = publish(ir(DAY), "1.0.0", "latest")
    second = publish(ir(DAY | HOUR), "1.1.0")
    assert pipeline("tag", "delays", "1.1.0", "latest")["digest"] == second
    assert pipeline("tag", "delays", first, "stable")["digest"] == first
    assert isinstance(invoke("tag", "delays", "3.0.0", "latest").exception, NotFound)
    shown = pipeline("show", "delays@latest")
    assert shown["digest"] == second
    for moved, digest in (("latest", second), ("stable", first)):
        (row,) = pipeline("pull", f"delays@{moved}", "-d", str(tmp_path))
        assert row["digest"] == digest
    assert {one["tag"]: one["digest"] for one in shown["tags"]} == {
        "1.0.0": first,
        "1.1.0": second,
        "latest": second,
        "stable": first,
    }
    moves = [(one["tag"], one["before"], one["after"]) for one in shown["history"]]
    assert ("latest", first, second) in moves
    text = invoke("show", "delays@latest").stdout
    short = [digest[7:19] for digest in (first, second)]
    assert f"from {short[0]} to {short[1]}" in text
    assert "default 6" in text
    assert "required" in text
    assert "Of the flights." in text
    assert "nobody that is known" in text
    assert [one["package"] for one in pipeline("list")] == ["delays"]


def test_check(
    pipeline: Pipeline,
    publish: Callable[..., str],
    invoke: Callable[..., Result],
    tmp_path: Path,
) -> None:
    publish(ir(DAY), "1.0.0")
    broken, fitting = tmp_path / "broken.yaml", tmp_path / "fitting.yaml"
    broken.write_bytes(ir(HOUR))
    fitting.write_bytes(ir(DAY | HOUR))
    done = invoke("check", str(broken), "--against", "1.0.0", "--as", "1.1.0")
    assert done.exit_code == 1
    assert "breaking: delays 1.1.0 against 1.0.0" in done.stdout
    assert "input day" in done.stdout
    assert "publish it as 2.0.0" in done.stdout
    done = invoke("check", str(broken), "--as", "1.1.0", "--json")
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (1, "breaking")
    assert pipeline("check", str(broken), "--as", "2.0.0")["verdict"] == "compatible"
    assert pipeline("check", str(fitting), "--against", "1.0.0")["verdict"] == "compatible"
    refused = invoke("push", str(broken), "--tag", "1.1.0")
    assert isinstance(refused.exception, Refused)
    assert "input day" in str(refused.exception)


def test_diff(
    pipeline: Pipeline, publish: Callable[..., str], invoke: Callable[..., Result]
) -> None:
    publish(ir(DAY), "1.0.0")
    publish(ir(DAY | HOUR, "2"), "1.1.0")
    found = pipeline("diff", "delays@1.0.0", "1.1.0")
    assert [one["what"] for one in found["changes"]] == ["added"]
    assert found["components"]["changed"] == ["work"]
    text = invoke("diff", "delays@1.0.0", "delays@1.1.0").stdout
    assert text.splitlines()[0].startswith("compatible  input hour added")
    assert text.splitlines()[1].split() == ["changed", "component", "work"]


def test_lock_pull_locked_and_outdated(
    pipeline: Pipeline,
    publish: Callable[..., str],
    invoke: Callable[..., Result],
    tmp_path: Path,
) -> None:
    first = publish(ir(DAY), "1.0.0")
    lock = tmp_path / "pipelines.lock"
    (entry,) = pipeline("lock", "delays@1.0.0", "--file", str(lock))
    assert entry["digest"] == first
    assert "interface_digest" in entry
    assert pipeline("outdated", str(lock))[0]["newest"] is None
    publish(ir(DAY | HOUR), "1.1.0")
    publish(ir(HOUR), "2.0.0")
    (row,) = pipeline("outdated", str(lock))
    assert (row["newest"], row["newest_compatible"], row["compatible"]) == ("2.0.0", "1.1.0", False)
    text = invoke("outdated", str(lock)).stdout
    assert text.splitlines()[1].split() == ["delays", "1.0.0", "2.0.0", "1.1.0", "breaking"]
    assert "delays 2.0.0: input day" in text

    folder = tmp_path / "fetched"
    pipeline("pull", "--locked", str(lock), "-d", str(folder))
    assert (folder / "delays.yaml").read_bytes() == ir(DAY)
    pipeline("lock", "delays@1.1.0", "--file", str(lock))
    pipeline("pull", "--locked", str(lock), "-d", str(folder))
    assert (folder / "delays.yaml").read_bytes() == ir(DAY | HOUR)

    # One entry that cannot be had: none is written.
    missing = lock.read_text().split("[[pipeline]]")[1].replace('"delays"', '"others"')
    lock.write_text(lock.read_text() + f"\n[[pipeline]]{missing}")
    empty = tmp_path / "empty"
    done = invoke("pull", "--locked", str(lock), "-d", str(empty))
    assert isinstance(done.exception, NotFound)
    assert not empty.exists()
    (found, unknown) = pipeline("outdated", str(lock))
    assert found["newest"] == "2.0.0"
    assert "others" in unknown["problem"]


def test_a_first_version_is_held_against_nothing(
    invoke: Callable[..., Result], publish: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "first.yaml"
    file.write_bytes(ir(DAY))
    said = invoke("check", str(file), "--as", "1.0.0").stdout
    assert "delays 1.0.0 is the first version" in said and "the same" not in said
    publish(ir(DAY), "1.0.0")
    assert "the interface is the same" in invoke("check", str(file), "--as", "1.0.1").stdout


def test_tags_that_only_look_like_versions_are_told_to_move(
    invoke: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "tagged.yaml"
    file.write_bytes(ir(DAY))
    said = invoke("push", str(file), "--tag", "v1.0.0", "--tag", "1.0.0", "--tag", "latest").stdout
    assert "note: v1.0.0 can be moved later" in said
    assert "note: 1.1 can be moved" in invoke("tag", "delays", "1.0.0", "1.1").stdout
    assert "note" not in invoke("tag", "delays", "1.0.0", "1.1.0").stdout
    assert "note" not in invoke("tag", "delays", "1.0.0", "stable").stdout
