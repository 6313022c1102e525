"""What teams promise one another, through the unmodified RegistryClient: versions, tags,
bytes, releases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import kfp
import pytest
from kfp import compiler, dsl
from kfp.registry import RegistryClient
from requests import HTTPError

from seamline.promote.release import Pin, Release, record_release
from seamline.register.pipelines.catalogue import list_tags, list_versions
from seamline.store.stores import Stores

Compile = Callable[..., Path]


@dsl.component(base_image="python:3.11")
def predict(day: str, rate: float = 0.5) -> str:
    return day


def pipeline_of(number: int) -> Any:
    """Three versions of team A's pipeline: the third one asks for what the first did not."""

    @dsl.pipeline(name="ml_model_1_pipeline")
    def first(day: str, params: dict = {"rate": 0.5}) -> str:  # noqa: B006 as the SDK wants it
        return predict(day=day).output

    @dsl.pipeline(name="ml_model_1_pipeline")
    def second(day: str, params: dict = {"rate": 0.5}, rate: float = 0.1) -> str:  # noqa: B006
        return predict(day=day, rate=rate).output

    @dsl.pipeline(name="ml_model_1_pipeline")
    def third(day: str, rate: float) -> str:
        return predict(day=day, rate=rate).output

    return (first, second, third)[number - 1]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    def run(pipeline: Any, name: str = "pipeline") -> Path:
        path = tmp_path / f"{name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path

    return run


def refusal(refused: pytest.ExceptionInfo[HTTPError]) -> tuple[int, str]:
    answer = refused.value.response
    return answer.status_code, answer.json()["error"]["message"]


def test_a_break_is_refused_naming_the_aggregated_pipeline(
    registry_url: str, compiled: Compile, stores: Stores, tmp_path: Path
) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(compiled(pipeline_of(1))), tags=["1.0.0"])
    fetched = tmp_path / "fetched.yaml"
    client.download_pipeline("ml_model_1_pipeline", tag="1.0.0", file_name=str(fetched))
    component = kfp.components.load_component_from_file(str(fetched))

    @dsl.pipeline(name="all-models")
    def aggregated(days: list = ["2013-01-01"]) -> None:  # noqa: B006
        with dsl.ParallelFor(days) as day:
            component(day=day, params={"rate": 0.9})

    client.upload_pipeline(str(compiled(aggregated, "aggregated")), tags=["3.1.0", "latest"])
    record_release(stores, Release(pipelines=(Pin(package, "1.0.0", version),)), "spring", by="ada")

    client.upload_pipeline(str(compiled(pipeline_of(2))), tags=["1.1.0"])
    with pytest.raises(HTTPError) as refused:
        client.upload_pipeline(str(compiled(pipeline_of(3))), tags=["latest", "1.2.0"])
    status, message = refusal(refused)
    assert status == 422
    for said in ("input params removed", "input rate now required", "1.1.0"):
        assert said in message
    assert "all-models@3.1.0" in message
    assert "release spring" in message
    assert {tag["name"].rpartition("/")[2] for tag in client.list_tags(package)} == {
        "1.0.0",
        "1.1.0",
    }
    assert len(client.list_versions(package)) == 2

    _, third = client.upload_pipeline(str(compiled(pipeline_of(3))), tags=["2.0.0"])
    with pytest.raises(HTTPError) as refused:
        client.create_tag(package, third, "1.2.0")
    assert refusal(refused)[0] == 422


def test_what_a_release_uses_stays(registry_url: str, compiled: Compile, stores: Stores) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(compiled(pipeline_of(1))))
    record_release(stores, Release(pipelines=(Pin(package, version, version),)), "spring", by="ada")
    for delete in (
        lambda: client.delete_version(package, version),
        lambda: client.delete_package(package),
    ):
        with pytest.raises(HTTPError) as refused:
            delete()
        status, message = refusal(refused)
        assert (status, "release spring" in message) == (422, True)
    assert [one.digest for one in list_versions(stores, package)] == [version]


def test_several_documents_are_kept_byte_for_byte(
    registry_url: str, compiled: Compile, tmp_path: Path
) -> None:
    """The second document is for a platform; line ends, comments and odd spacing stay, too."""
    client = RegistryClient(host=registry_url)
    path = compiled(pipeline_of(1))
    data = path.read_bytes().replace(b"\n", b"\r\n", 40) + (
        b"---\nplatforms:\n  kubernetes: {deploymentSpec: {executors: {}}}\n\n#  the end \xc3\xa9\n"
    )
    path.write_bytes(data)
    package, version = client.upload_pipeline(str(path), tags=["1.0.0"])
    target = tmp_path / "back.yaml"
    for reference in ({"tag": "1.0.0"}, {"version": version}):
        client.download_pipeline(package, file_name=str(target), **reference)
        assert target.read_bytes() == data
    assert client.upload_pipeline(str(target)) == (package, version)


@pytest.mark.parametrize("spelt", ["ml_model_1_pipeline", "ML-model_1-Pipeline"])
def test_names_are_normalised_by_every_method(
    registry_url: str, compiled: Compile, tmp_path: Path, spelt: str, stores: Stores
) -> None:
    client = RegistryClient(host=registry_url)
    _, first = client.upload_pipeline(str(compiled(pipeline_of(1))), tags=["dev"])
    _, second = client.upload_pipeline(str(compiled(pipeline_of(2))))
    target = str(tmp_path / "back.yaml")
    assert client.download_pipeline(spelt, tag="dev", file_name=target) == target
    assert client.download_pipeline(spelt, version=first, file_name=target) == target
    assert client.get_package(spelt)["name"] == "packages/ml-model-1-pipeline"
    assert len(client.list_versions(spelt)) == 2
    assert client.get_version(spelt, first)["name"].endswith(first)
    assert client.create_tag(spelt, first, "new")["version"].endswith(first)
    assert client.update_tag(spelt, second, "new")["version"].endswith(second)
    assert client.get_tag(spelt, "new")["name"] == "packages/ml-model-1-pipeline/tags/new"
    assert len(client.list_tags(spelt)) == 2
    client.delete_tag(spelt, "new")
    assert client.delete_version(spelt, second)
    assert client.delete_package(spelt)
    assert client.list_packages() == []


def test_tags_point_at_what_is_there(registry_url: str, compiled: Compile, stores: Stores) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(compiled(pipeline_of(1))), tags=["1.0.0", "dev"])
    _, other = client.upload_pipeline(str(compiled(pipeline_of(2))))
    nowhere = "sha256:" + "0" * 64
    before = list_tags(stores, package)
    for move, code in (
        (lambda: client.update_tag(package, nowhere, "dev"), 404),
        (lambda: client.create_tag(package, nowhere, "new"), 404),
        (lambda: client.get_tag(package, "new"), 404),
        (lambda: client.delete_tag(package, "new"), 404),
        (lambda: client.update_tag(package, other, "1.0.0"), 409),
        (lambda: client.create_tag(package, other, "dev"), 409),
        (lambda: client.get_version(package, nowhere), 404),
        (lambda: client.get_package("ml-model-9"), 404),
    ):
        with pytest.raises(HTTPError) as refused:
            move()
        assert refusal(refused)[0] == code
    assert list_tags(stores, package) == before
    assert client.update_tag(package, other, "dev")["version"].endswith(other)
    assert client.update_tag(package, version, "1.0.0")["version"].endswith(version)
