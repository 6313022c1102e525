"""Pipelines and versions: one catalogue, whether kfp.Client or RegistryClient speaks to it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import kfp
import kfp_server_api
import pytest
from kfp.registry import RegistryClient

from seamline.app.promote.make_release import make_release
from seamline.promote.environments import live_release
from seamline.train.runs import show_run


def registry(kitchen: Any) -> RegistryClient:
    return RegistryClient(host=f"{kitchen.url}/kfp/registry/default/main")


def test_upload_find_run_delete(
    kitchen: Any, client: kfp.Client, compiled: Any, capsys: Any
) -> None:
    file = compiled("first-steps")
    made = client.upload_pipeline(str(file), description="the first")
    assert (made.display_name, made.name, made.description) == ("first-steps",) * 2 + ("the first",)
    assert f"{kitchen.url}/#/pipelines/details/{made.pipeline_id}" in capsys.readouterr().out
    assert client.get_pipeline_id("first-steps") == made.pipeline_id
    assert client.get_pipeline_id("no-steps") is None
    assert client.get_pipeline(made.pipeline_id).created_at == made.created_at
    (version,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    assert version.pipeline_spec["pipelineInfo"]["name"] == "first-steps"
    same = client.get_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    assert same.to_dict() == version.to_dict()
    experiment = client.get_experiment(experiment_name="Default")
    run = client.run_pipeline(
        experiment.experiment_id,
        "by version",
        pipeline_id=made.pipeline_id,
        version_id=version.pipeline_version_id,
        params={"n": 4},
    )
    ended = client.wait_for_run_completion(run.run_id, timeout=300)
    assert ended.state == "SUCCEEDED"
    reference = ended.pipeline_version_reference
    assert (reference.pipeline_id, reference.pipeline_version_id) == (
        made.pipeline_id,
        version.pipeline_version_id,
    )
    client.delete_pipeline(made.pipeline_id)
    assert client.get_pipeline_id("first-steps") is None
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_pipeline(made.pipeline_id)
    assert gone.value.status == 404


def test_both_clients_see_the_same(
    kitchen: Any, client: kfp.Client, compiled: Any, tmp_path: Path
) -> None:
    first, second = compiled("two-doors", 1), compiled("two-doors", 2)
    made = client.upload_pipeline(str(first))
    version = client.upload_pipeline_version(
        str(second), pipeline_version_name="v2", pipeline_id=made.pipeline_id
    )
    target = tmp_path / "downloaded.yaml"
    registry(kitchen).download_pipeline("two-doors", tag="v2", file_name=str(target))
    assert target.read_bytes() == second.read_bytes()
    third = compiled("two-doors", 3)
    _, digest = registry(kitchen).upload_pipeline(str(third), tags=["stable"])
    versions = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    assert [one.display_name for one in versions] == ["two-doors", "v2", "stable"]
    assert versions[2].tags == {"digest": digest, "tags": "stable"}
    client.delete_pipeline_version(made.pipeline_id, version.pipeline_version_id)
    names = [one["name"].rpartition("/")[2] for one in registry(kitchen).list_tags("two-doors")]
    assert names == ["stable"]
    registry(kitchen).delete_package("two-doors")
    assert client.get_pipeline_id("two-doors") is None


def test_a_name_of_its_own(kitchen: Any, client: kfp.Client, compiled: Any) -> None:
    name = "Fraud training (EU)"
    made = client.upload_pipeline(str(compiled("plain")), pipeline_name=name)
    assert (made.display_name, made.name) == (name, "fraud-training-eu")
    assert client.get_pipeline_id(name) == made.pipeline_id
    by_name = client.pipelines.pipeline_service_get_pipeline_by_name(name=name)
    assert by_name.pipeline_id == made.pipeline_id
    version = client.upload_pipeline_version(
        str(compiled("plain", 2)),
        pipeline_version_name="second try, with weights",
        pipeline_name=name,
        description="why not",
    )
    assert version.display_name == "second try, with weights"
    assert version.description == "why not"
    assert version.pipeline_id == made.pipeline_id
    packages = [one["name"] for one in registry(kitchen).list_packages()]
    assert "packages/fraud-training-eu" in packages
    client.delete_pipeline(made.pipeline_id)
    again = client.upload_pipeline(str(compiled("plain", 2)), pipeline_name="Fraud training EU")
    assert again.display_name == "Fraud training EU", "the old name went with what it named"


def test_uploading_again(client: kfp.Client, compiled: Any) -> None:
    made = client.upload_pipeline(str(compiled("again")))
    assert client.upload_pipeline(str(compiled("again"))).pipeline_id == made.pipeline_id
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.upload_pipeline(str(compiled("again", 2)))
    assert (refused.value.status, "upload_pipeline_version" in refused.value.body) == (409, True)
    for number in (2, 2):
        client.upload_pipeline_version(
            str(compiled("again", number)), "1.0.0", pipeline_id=made.pipeline_id
        )
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.upload_pipeline_version(
            str(compiled("again", 3)), "1.0.0", pipeline_id=made.pipeline_id
        )
    assert refused.value.status == 409
    assert client.list_pipeline_versions(made.pipeline_id).total_size == 2


def test_from_functions(client: kfp.Client, menu: SimpleNamespace) -> None:
    made = client.upload_pipeline_from_pipeline_func(menu.sums, pipeline_name="from-func")
    version = client.upload_pipeline_version_from_pipeline_func(
        menu.tables, "tables", pipeline_name="from-func"
    )
    assert version.pipeline_id == made.pipeline_id


def test_lists_of_pipelines(client: kfp.Client, compiled: Any) -> None:
    for number in range(3):
        client.upload_pipeline(str(compiled(f"listed-{number}")))
    of_these = json.dumps(
        {"predicates": [{"operation": 9, "key": "display_name", "stringValue": "listed-"}]}
    )
    first = client.list_pipelines(page_size=2, sort_by="display_name desc", filter=of_these)
    second = client.list_pipelines(
        page_size=2,
        sort_by="display_name desc",
        filter=of_these,
        page_token=first.next_page_token,
    )
    assert [one.name for page in (first, second) for one in page.pipelines] == [
        "listed-2",
        "listed-1",
        "listed-0",
    ]
    found = client.list_pipeline_versions(first.pipelines[0].pipeline_id, sort_by="created_at desc")
    assert found.total_size == 1


def test_what_cannot_be_uploaded(kitchen: Any, client: kfp.Client, tmp_path: Path) -> None:
    path = f"{kitchen.url}/apis/v2beta1/pipelines/upload"
    bad = {
        b"not: a pipeline": "not a compiled pipeline",
        b"\x1f\x8b\x08\x00rest": "is an archive",
        b"PK\x03\x04rest": "is an archive",
        b"": "not a compiled pipeline",
    }
    for data, says in bad.items():
        answer = httpx.post(path, files={"uploadfile": ("p.yaml", data)}, params={"name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (400, 3), data
        assert says in answer.json()["message"]
    assert httpx.post(path, files={"file": ("p.yaml", b"x")}).json()["code"] == 3
    large = httpx.post(path, files={"uploadfile": ("p.yaml", b"x" * (9 << 20))})
    assert (large.status_code, "limited to" in large.json()["message"]) == (413, True)
    for create in (
        client.pipelines.pipeline_service_create_pipeline,
        client.pipelines.pipeline_service_create_pipeline_and_version,
    ):
        with pytest.raises(kfp_server_api.ApiException, match="fetches no URLs"):
            create({"display_name": "empty"})


def test_a_version_from_a_specification(client: kfp.Client, compiled: Any) -> None:
    made = client.upload_pipeline(str(compiled("by-spec")))
    (first,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    spec = json.loads(json.dumps(first.pipeline_spec).replace("by-spec", "by-spec-2"))
    second = client.pipelines.pipeline_service_create_pipeline_version(
        pipeline_id=made.pipeline_id,
        pipeline_version={"display_name": "2", "pipeline_spec": spec},
    )
    assert second.pipeline_spec == spec
    with pytest.raises(kfp_server_api.ApiException, match="fetches no URLs"):
        client.pipelines.pipeline_service_create_pipeline_version(
            pipeline_id=made.pipeline_id,
            pipeline_version={"package_url": {"pipeline_url": "http://127.0.0.1/x.yaml"}},
        )


def test_in_production_only_what_its_release_holds(
    kitchen: Any, client: kfp.Client, compiled: Any
) -> None:
    """Law 4, through this API: by version, and by the pipeline's latest version."""
    made = client.upload_pipeline(str(compiled("released", 1)))
    (held,) = client.list_pipeline_versions(made.pipeline_id).pipeline_versions
    registry(kitchen).create_tag("released", held.tags["digest"], "1.0.0")
    other = client.upload_pipeline_version(
        str(compiled("released", 2)), "2", pipeline_id=made.pipeline_id
    )
    platform = kitchen.platform
    make_release(platform, "first", [], ["released@1.0.0"], by="root")

    def is_live() -> bool:
        with platform.stores.db.read() as connection:
            return live_release(connection, "development") is not None

    kitchen.wait_for(is_live)
    there = client.create_experiment("Default", namespace="development").experiment_id
    by_version = {"pipeline_id": made.pipeline_id, "version_id": held.pipeline_version_id}
    run = client.run_pipeline(there, "held", **by_version)
    assert client.wait_for_run_completion(run.run_id, timeout=300).state == "SUCCEEDED"
    with pytest.raises(kfp_server_api.ApiException, match="does not hold it"):
        client.run_pipeline(
            there, "other", pipeline_id=made.pipeline_id, version_id=other.pipeline_version_id
        )
    latest = {"pipeline_version_reference": {"pipeline_id": made.pipeline_id}}
    for experiment, version in (
        (there, held),
        (client.create_experiment("Default").experiment_id, other),
    ):
        made_run = client.runs.run_service_create_run(run={"experiment_id": experiment, **latest})
        digest = show_run(platform.stores, made_run.run_id)["pipeline_digest"]
        assert digest == version.tags["digest"]
