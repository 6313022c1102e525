"""Experiments, as kfp.Client makes, finds, files and deletes them; namespaces."""

from __future__ import annotations

import json
import uuid
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import pytest

from seamline.app.train.submit_run import submit_ir
from seamline.train.runs import show_run


def test_there_is_a_default_one(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, capsys: Any
) -> None:
    default = client.get_experiment(experiment_name="Default")
    assert (default.namespace, default.storage_state) == ("dataops", "AVAILABLE")
    run = client.create_run_from_pipeline_func(menu.sums)
    assert client.get_run(run.run_id).experiment_id == default.experiment_id
    link = f"{kitchen.url}/#/experiments/details/{default.experiment_id}"
    assert link in capsys.readouterr().out
    again = client.get_experiment(experiment_id=default.experiment_id)
    assert again.last_run_created_at >= default.created_at


def test_what_was_submitted_elsewhere_is_in_the_default_one(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace
) -> None:
    ir = kitchen.compiled(menu.sums).read_bytes()
    run_id = submit_ir(kitchen.platform, ir, arguments={}, by="root")
    default = client.get_experiment(experiment_name="Default")
    listed = client.list_runs(
        experiment_id=default.experiment_id, page_size=100, sort_by="created_at desc"
    )
    assert run_id in [run.run_id for run in listed.runs]
    assert client.get_run(run_id).experiment_id == default.experiment_id


def test_create_find_archive_delete(client: kfp.Client, menu: SimpleNamespace) -> None:
    name = f"trials {uuid.uuid4()}"
    made = client.create_experiment(name, description="first tries")
    assert (made.display_name, made.description) == (name, "first tries")
    assert client.create_experiment(name).experiment_id == made.experiment_id
    assert client.get_experiment(experiment_name=name).experiment_id == made.experiment_id
    run = client.create_run_from_pipeline_func(menu.sums, experiment_name=name)
    run.wait_for_run_completion(timeout=300)
    client.archive_experiment(made.experiment_id)
    assert client.get_experiment(made.experiment_id).storage_state == "ARCHIVED"
    assert client.get_run(run.run_id).storage_state == "ARCHIVED"
    with pytest.raises(kfp_server_api.ApiException, match="is archived"):
        client.create_run_from_pipeline_func(menu.sums, experiment_name=name)
    client.unarchive_experiment(made.experiment_id)
    assert client.get_experiment(made.experiment_id).storage_state == "AVAILABLE"
    client.delete_experiment(made.experiment_id)
    with pytest.raises(ValueError, match="No experiment is found"):
        client.get_experiment(experiment_name=name)
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_experiment(made.experiment_id)
    assert gone.value.status == 404
    assert client.get_run(run.run_id).state == "SUCCEEDED", "its runs stay"


def test_the_same_name_twice_is_a_conflict(client: kfp.Client) -> None:
    body = kfp_server_api.V2beta1Experiment(display_name=f"twice {uuid.uuid4()}")
    client.experiments.experiment_service_create_experiment(experiment=body)
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.experiments.experiment_service_create_experiment(experiment=body)
    assert (refused.value.status, json.loads(refused.value.body)["code"]) == (409, 6)


def test_pages_of_experiments(client: kfp.Client) -> None:
    mark = str(uuid.uuid4())
    for n in range(3):
        client.create_experiment(f"{mark} {n}")
    of_these = json.dumps(
        {"predicates": [{"operation": 9, "key": "display_name", "stringValue": mark.upper()}]}
    )
    first = client.list_experiments(page_size=2, sort_by="name desc", filter=of_these)
    second = client.list_experiments(
        page_size=2, sort_by="name desc", filter=of_these, page_token=first.next_page_token
    )
    names = [one.display_name for page in (first, second) for one in page.experiments]
    assert names == [f"{mark} {n}" for n in (2, 1, 0)]
    assert (first.total_size, second.next_page_token) == (3, "")


def test_a_namespace_is_an_environment(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace
) -> None:
    there = client.create_experiment("Default", namespace="staging")
    assert there.namespace == "staging"
    assert there.experiment_id != client.get_experiment(experiment_name="Default").experiment_id
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_run_from_pipeline_func(menu.sums, namespace="staging")
    assert refused.value.status == 422
    assert "no release is live there" in json.loads(refused.value.body)["message"]
    with pytest.raises(kfp_server_api.ApiException, match="Did you mean staging"):
        client.list_runs(namespace="stagin")
    for run in client.list_runs(namespace="dataops").runs:
        assert show_run(kitchen.platform.stores, run.run_id)["environment"] == "dataops"
    assert client.list_runs(namespace="staging").runs == []
