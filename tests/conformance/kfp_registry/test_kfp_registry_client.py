"""The unmodified kfp.registry.RegistryClient over a real port."""

from pathlib import Path

import httpx
import kfp
import pytest
from kfp import compiler, dsl
from kfp.registry import RegistryClient
from requests import HTTPError

from seamline.protocols.kfp_registry import MAX_UPLOAD_BYTES
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


@dsl.component(base_image="python:3.11")
def predict(day: str) -> str:
    return day


@dsl.pipeline(name="ml_model_1_pipeline")
def first_model(day: str = "2013-01-01") -> None:
    predict(day=day)


@dsl.pipeline(name="ml_model_2_pipeline")
def second_model(day: str = "2013-01-01") -> None:
    predict(day=day)
    predict(day="2013-02-01")


@pytest.fixture
def first(tmp_path: Path) -> Path:
    path = tmp_path / "first.yaml"
    compiler.Compiler().compile(first_model, str(path))
    return path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    path = tmp_path / "second.yaml"
    compiler.Compiler().compile(second_model, str(path))
    return path


def test_upload_download_by_tag_aggregate(
    registry_url: str, first: Path, second: Path, tmp_path: Path
) -> None:
    client = RegistryClient(host=registry_url)
    loaded = []
    for name, file in (("ml_model_1_pipeline", first), ("ml_model_2_pipeline", second)):
        package, version = client.upload_pipeline(str(file), tags=["1.0.0", "latest"])
        assert package == name.replace("_", "-")
        assert version.startswith("sha256:")
        target = tmp_path / f"{name}_downloaded.yaml"
        client.download_pipeline(name, tag="1.0.0", file_name=str(target))
        assert target.read_bytes() == file.read_bytes()
        loaded.append(kfp.components.load_component_from_file(str(target)))

    @dsl.pipeline(name="aggregated")
    def aggregated(day: str = "2013-01-01") -> None:
        for component in loaded:
            component(day=day)

    path = tmp_path / "aggregated.yaml"
    compiler.Compiler().compile(aggregated, str(path))
    text = path.read_text()
    assert "comp-ml-model-1-pipeline" in text
    assert "comp-ml-model-2-pipeline" in text
    assert client.upload_pipeline(str(path))[0] == "aggregated"


def test_each_method(registry_url: str, first: Path, tmp_path: Path, stores: Stores) -> None:
    client = RegistryClient(host=registry_url)
    assert client.list_packages() == []
    package, version = client.upload_pipeline(str(first), tags="dev")
    assert client.upload_pipeline(str(first)) == (package, version)
    other = tmp_path / "other.yaml"
    other.write_bytes(first.read_bytes() + b"# changed\n")
    _, changed = client.upload_pipeline(str(other))

    target = str(tmp_path / "by-version.yaml")
    client.download_pipeline(package, version=changed, file_name=target)
    assert Path(target).read_bytes() == other.read_bytes()

    assert [found["name"] for found in client.list_packages()] == [f"packages/{package}"]
    assert client.get_package("ml_model_1_pipeline")["displayName"] == package
    names = {found["name"] for found in client.list_versions(package)}
    assert names == {f"packages/{package}/versions/{digest}" for digest in (version, changed)}
    assert client.get_version(package, changed)["name"].endswith(changed)

    assert client.create_tag(package, version, "candidate")["version"].endswith(version)
    assert client.update_tag(package, changed, "candidate")["version"].endswith(changed)
    assert client.get_tag(package, "candidate")["version"].endswith(changed)
    assert {tag["name"].rsplit("/")[-1] for tag in client.list_tags(package)} == {
        "dev",
        "candidate",
    }
    with pytest.raises(HTTPError, match="422"):
        client.delete_version(package, changed)
    assert client.delete_tag(package, "candidate") == {}
    assert client.delete_version(package, changed) is True
    assert client.delete_package(package) is True
    assert client.list_packages() == []
    with stores.db.read() as connection:
        moves = read_facts(connection, kinds=["pipeline.tag_moved"])
    assert [(fact.body["tag"], fact.by) for fact in moves] == [
        ("dev", "ada"),
        ("candidate", "ada"),
        ("candidate", "ada"),
        ("candidate", "ada"),
        ("dev", "ada"),
    ]


def test_three_part_tags_stay(registry_url: str, first: Path, tmp_path: Path) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(first), tags=["1.0.0"])
    client.create_tag(package, version, "1.0.0")
    other = tmp_path / "other.yaml"
    other.write_bytes(first.read_bytes() + b"# changed\n")
    with pytest.raises(HTTPError, match="409"):
        client.upload_pipeline(str(other), tags=["latest", "1.0.0"])
    assert [tag["name"].rsplit("/")[-1] for tag in client.list_tags(package)] == ["1.0.0"]
    client.delete_tag(package, "1.0.0")
    with pytest.raises(HTTPError, match="409"):
        client.upload_pipeline(str(other), tags=["1.0.0"])
    client.upload_pipeline(str(first), tags=["1.0.0"])


def test_altered_bytes_are_not_handed_out(
    registry_url: str, first: Path, tmp_path: Path, stores: Stores
) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(first))
    stores.blobs.path_of(version).write_bytes(b"altered")
    answer = httpx.get(f"{registry_url}/{package}/{version}")
    assert answer.status_code == 422
    assert version in answer.json()["error"]["message"]


def test_refusals_are_json(registry_url: str) -> None:
    huge = b"#" * (MAX_UPLOAD_BYTES + 1)
    too_large = httpx.post(registry_url, files={"content": huge})
    assert too_large.status_code == 413
    assert too_large.json()["error"]["code"] == "too_large"
    whole = httpx.Request("POST", registry_url, files={"content": huge})
    chunked = httpx.post(
        registry_url,
        content=iter([whole.read(), b""]),
        headers={"content-type": whole.headers["content-type"]},
    )
    assert chunked.status_code == 413
    for files in ({"content": b"hello"}, {"other": b"x"}, {"content": b"[" * 100_000}):
        answer = httpx.post(registry_url, files=files)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]
    torn = httpx.post(
        registry_url, content=b"torn", headers={"content-type": "multipart/form-data"}
    )
    assert torn.status_code == 400
    assert "error" in torn.json()
    no_tag = httpx.post(f"{registry_url}/packages/nothing/tags", json={"version": ""})
    assert no_tag.status_code == 400
    assert "tagId" in no_tag.json()["error"]["message"]
    missing = httpx.get(f"{registry_url}/nothing/1.0.0")
    assert missing.status_code == 404
    assert "nothing" in missing.json()["error"]["message"]
