"""kfp.Client creates, waits, lists, filters, pages, terminates, retries, archives, deletes."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import pytest

from seamline.train.runs import find_artifact, show_run
from seamline.trust.principals import add_principal, parse_role


def predicate(operation: Any, key: str, **value: Any) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


def test_create_and_wait(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, capsys: Any
) -> None:
    created = client.create_run_from_pipeline_func(menu.sums, arguments={"n": 5}, run_name="five")
    ended = created.wait_for_run_completion(timeout=300)
    assert (ended.state, ended.display_name, ended.error) == ("SUCCEEDED", "five", None)
    assert ended.run_id == created.run_id
    assert ended.runtime_config.parameters == {"n": 5}
    assert ended.created_at <= ended.finished_at
    assert [one.state for one in ended.state_history] == ["PENDING", "RUNNING", "SUCCEEDED"]
    assert ended.storage_state == "AVAILABLE"
    assert ended.pipeline_spec["pipelineInfo"]["name"] == "sums"
    shown = show_run(kitchen.platform.stores, ended.run_id)
    assert [task["outputs"]["parameters"]["Output"] for task in shown["tasks"]] == [6, 8]
    assert f"{kitchen.url}/#/runs/details/{ended.run_id}" in capsys.readouterr().out


def test_the_details_of_tasks(kitchen: Any, client: kfp.Client, menu: SimpleNamespace) -> None:
    package = str(kitchen.compiled(menu.tables))
    created = client.create_run_from_pipeline_package(package, arguments={"rows": 4})
    ended = created.wait_for_run_completion(timeout=300)
    tasks = ended.run_details.task_details
    names = [task.display_name for task in tasks]
    assert names[0] == "write"
    assert {task.state for task in tasks} == {"SUCCEEDED"}
    by_id = {task.task_id: task for task in tasks}
    assert len(by_id) == len(tasks)
    for task in tasks:
        assert task.run_id == ended.run_id
        assert task.create_time <= task.start_time <= task.end_time
        children = [child.task_id for child in task.child_tasks or []]
        assert {by_id[child].parent_task_id for child in children} <= {task.task_id}
    inner = [task for task in tasks if task.display_name == "add"]
    assert len(inner) == 2
    iterations = {by_id[task.parent_task_id].display_name for task in inner}
    loop = {by_id[by_id[task.parent_task_id].parent_task_id].task_id for task in inner}
    assert len(iterations) == 2
    assert len(loop) == 1
    table = find_artifact(kitchen.platform.stores, ended.run_id, "write", "table")
    assert tasks[0].outputs["table"].artifact_ids == [table.id]
    readers = [task for task in tasks if task.display_name == "count"]
    assert [task.inputs["table"].artifact_ids for task in readers] == [[table.id]] * 2


def test_a_failed_run_says_what_failed_and_retry_does_only_that(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    created = client.create_run_from_pipeline_func(menu.flaky, arguments={"flag": str(flag)})
    failed = created.wait_for_run_completion(timeout=300)
    assert failed.state == "FAILED"
    assert "the flag is not there" in failed.error.message
    first, second = failed.run_details.task_details
    assert (first.display_name, first.state) == ("fail-until", "FAILED")
    assert first.error.message == "LookupError: the flag is not there"
    assert (second.state, second.error.code) == ("SKIPPED", 9)
    assert "fail-until failed" in second.error.message
    flag.touch()
    client.runs.run_service_retry_run(run_id=created.run_id)
    assert created.wait_for_run_completion(timeout=300).state == "SUCCEEDED"
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.runs.run_service_retry_run(run_id=created.run_id)
    assert "nothing to retry" in json.loads(refused.value.body)["message"]


def test_terminate_ends_whoever_waits(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, tmp_path: Path
) -> None:
    created = client.create_run_from_pipeline_func(
        menu.holding, arguments={"flag": str(tmp_path / "never")}
    )
    client.terminate_run(created.run_id)
    ended = created.wait_for_run_completion(timeout=300)
    assert ended.state == "FAILED"
    assert (ended.error.code, ended.error.message) == (1, f"canceled by {kitchen.platform.owner}")
    assert ended.state_history[-1].state == "CANCELED"
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.terminate_run(created.run_id)
    assert (refused.value.status, json.loads(refused.value.body)["code"]) == (422, 9)


def test_lists_filters_and_pages(kitchen: Any, client: kfp.Client, menu: SimpleNamespace) -> None:
    experiment = client.create_experiment(f"pages {uuid.uuid4()}")
    package = str(kitchen.compiled(menu.sums))
    for n in range(5):
        client.run_pipeline(experiment.experiment_id, f"run {n}", package, params={"n": n})
    of = {"experiment_id": experiment.experiment_id}
    for run in client.list_runs(**of).runs:
        kitchen.wait_for_end(run.run_id)
    seen, token, pages = [], "", 0
    while pages == 0 or token:
        found = client.list_runs(page_token=token, page_size=2, sort_by="display_name desc", **of)
        assert found.total_size == 5
        seen += [run.display_name for run in found.runs]
        token, pages = found.next_page_token, pages + 1
    assert (seen, pages) == ([f"run {n}" for n in (4, 3, 2, 1, 0)], 3)
    filters = {
        predicate(1, "display_name", stringValue="run 3"): ["run 3"],
        predicate("EQUALS", "name", string_value="run 3"): ["run 3"],
        predicate(2, "display_name", stringValue="run 3"): ["run 0", "run 1", "run 2", "run 4"],
        predicate(8, "name", stringValues={"values": ["run 1", "run 4"]}): ["run 1", "run 4"],
        predicate(9, "name", stringValue="RUN"): [f"run {n}" for n in range(5)],
        predicate(1, "state", stringValue="SUCCEEDED"): [f"run {n}" for n in range(5)],
        predicate(1, "state", stringValue="FAILED"): [],
        predicate(2, "state", stringValue="SUCCEEDED"): [],
        predicate(3, "created_at", timestampValue="2001-01-01T00:00:00Z"): [
            f"run {n}" for n in range(5)
        ],
        predicate(6, "created_at", timestampValue="2001-01-01T00:00:00+01:00"): [],
        predicate(2, "storage_state", stringValue="ARCHIVED"): [f"run {n}" for n in range(5)],
    }
    for text, names in filters.items():
        found = client.list_runs(filter=text, page_size=50, **of)
        assert [run.display_name for run in found.runs] == names, text
    newest = client.list_runs(page_size=1, sort_by="created_at desc").runs
    assert newest[0].display_name == "run 4"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"filter": predicate(1, "display_nam", stringValue="x")}, "Did you mean display_name"),
        ({"filter": predicate(4, "display_name", stringValue="x")}, "operation is 4"),
        ({"filter": predicate("EQAULS", "display_name", stringValue="x")}, "Did you mean EQUALS"),
        ({"filter": predicate(1, "display_name")}, "needs one value"),
        ({"filter": predicate(8, "display_name", stringValue="x")}, "needs one value"),
        ({"filter": predicate(3, "state", stringValue="FAILED")}, "cannot be filtered by GREATER"),
        ({"filter": predicate(3, "created_at", stringValue="yesterday")}, "is no time"),
        ({"filter": "{"}, "no JSON"),
        ({"filter": "[]"}, "another shape"),
        ({"sort_by": "colour"}, "no field 'colour'"),
        ({"sort_by": "name upwards"}, "FIELD desc"),
        ({"page_token": "not-a-token"}, "no page token"),
        ({"page_size": -1}, "page_size is -1"),
    ],
)
def test_what_a_list_cannot_be_asked(client: kfp.Client, options: Any, says: str) -> None:
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.list_runs(**options)
    assert refused.value.status == 400
    body = json.loads(refused.value.body)
    assert says in body["message"]
    assert (body["code"], body["details"], body["error"]) == (3, [], body["message"])


def test_a_page_token_belongs_to_its_query(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace
) -> None:
    for n in range(2):
        client.create_run_from_pipeline_func(menu.sums, arguments={"n": n})
    token = client.list_runs(page_size=1).next_page_token
    with pytest.raises(kfp_server_api.ApiException, match="another query"):
        client.list_runs(page_size=1, page_token=token, sort_by="name")


def test_archive_and_delete(kitchen: Any, client: kfp.Client, menu: SimpleNamespace) -> None:
    created = client.create_run_from_pipeline_func(menu.sums, run_name="kept for now")
    created.wait_for_run_completion(timeout=300)
    client.archive_run(created.run_id)
    assert client.get_run(created.run_id).storage_state == "ARCHIVED"
    archived = client.list_runs(
        filter=predicate(1, "storage_state", stringValue="ARCHIVED"), page_size=100
    )
    assert created.run_id in [run.run_id for run in archived.runs]
    client.unarchive_run(created.run_id)
    assert client.get_run(created.run_id).storage_state == "AVAILABLE"
    client.delete_run(created.run_id)
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_run(created.run_id)
    assert (gone.value.status, json.loads(gone.value.body)["code"]) == (404, 5)


def test_deleting_a_run_that_goes_on_ends_it(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, tmp_path: Path
) -> None:
    created = client.create_run_from_pipeline_func(
        menu.holding, arguments={"flag": str(tmp_path / "never")}
    )
    client.delete_run(created.run_id)
    kitchen.wait_for_end(created.run_id)


def test_bad_runs_are_refused_in_words(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace
) -> None:
    package = str(kitchen.compiled(menu.sums))
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_run_from_pipeline_package(package, arguments={"n": "many"})
    assert (refused.value.status, "'n'" in refused.value.body) == (400, True)
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_run_from_pipeline_package(package, arguments={"m": 1})
    assert "Known: n" in json.loads(refused.value.body)["message"]
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.run_pipeline("no-such-experiment", "x", package)
    assert refused.value.status == 404
    for body in ({}, {"pipeline_spec": {"a": 1}}, {"pipeline_spec": "text"}):
        with pytest.raises(kfp_server_api.ApiException) as refused:
            client.runs.run_service_create_run(run=body)
        assert refused.value.status == 400, body


def test_a_spec_with_a_platform_part_and_odd_characters(
    kitchen: Any, client: kfp.Client, tmp_path: Path
) -> None:
    """What the client sends for `kfp.kubernetes` settings; and JSON that YAML would misread."""
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "odd"},
        "root": {"dag": {"tasks": {"load": {"componentRef": {"name": "comp-load"}}}}},
        "components": {
            "comp-load": {
                "executorLabel": "exec-load",
                "inputDefinitions": {
                    "parameters": {
                        "text": {"parameterType": "STRING", "defaultValue": "a\x7fb \u2028 😀"},
                        "big": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 1e22},
                    }
                },
                "outputDefinitions": {
                    "artifacts": {"artifact": {"artifactType": {"schemaTitle": "system.Artifact"}}}
                },
            }
        },
        "deploymentSpec": {
            "executors": {
                "exec-load": {
                    "importer": {
                        "artifactUri": {"constant": "datasets://nothing"},
                        "typeSchema": {"schemaTitle": "system.Artifact"},
                    }
                }
            }
        },
    }
    wrapped = {"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": {}}}}
    body = {"display_name": "odd", "pipeline_spec": wrapped}
    made = client.runs.run_service_create_run(run=body)
    kitchen.wait_for_end(made.run_id)
    found = client.get_run(made.run_id)
    assert found.state == "FAILED"
    assert "nothing" in found.error.message
    assert found.pipeline_spec == wrapped


def test_tokens(kitchen: Any, menu: SimpleNamespace) -> None:
    stores = kitchen.platform.stores
    with stores.db.transaction() as tx:
        tokens = {
            role: add_principal(
                tx,
                stores.facts,
                stores.clock,
                f"{role}-{uuid.uuid4()}",
                {parse_role(role)},
                by="root",
            )
            for role in ("viewer", "developer")
        }
    developer = kitchen.client(existing_token=tokens["developer"])
    created = developer.create_run_from_pipeline_func(menu.sums)
    run = show_run(stores, created.run_id)
    assert run["requested_by"].startswith("developer-")
    viewer = kitchen.client(existing_token=tokens["viewer"])
    assert viewer.get_run(created.run_id).run_id == created.run_id
    with pytest.raises(kfp_server_api.ApiException) as forbidden:
        viewer.terminate_run(created.run_id)
    assert (forbidden.value.status, json.loads(forbidden.value.body)["code"]) == (403, 7)
    stranger = kitchen.client(existing_token="sl_nobody")
    with pytest.raises(kfp_server_api.ApiException) as unknown:
        stranger.list_runs()
    assert (unknown.value.status, json.loads(unknown.value.body)["code"]) == (401, 16)


def test_what_is_not_spoken_says_so(client: kfp.Client) -> None:
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.auths.auth_service_authorize()
    assert refused.value.status == 404
    assert "recurringruns" in json.loads(refused.value.body)["message"]
