"""Recurring runs: kfp.Client creates and disables them, the scheduler carries them out."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import kfp
import kfp_server_api
import pytest

from seamline.domain.states import is_terminal
from seamline.train.schedule.schedules import find_schedule
from seamline.train.views.listing import Comparison, Condition, page_runs


@pytest.fixture
def experiment(client: kfp.Client) -> str:
    return str(client.create_experiment(f"recurring {uuid.uuid4()}").experiment_id)


def runs_of(kitchen: Any, schedule_id: str) -> list[Any]:
    of_it = Condition("schedule_id", Comparison.EQUALS, schedule_id)
    return list(page_runs(kitchen.platform.stores, conditions=[of_it]).runs)


def test_every_second_until_it_is_disabled(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    made = client.create_recurring_run(
        experiment,
        "ticking",
        interval_second=1,
        max_concurrency=2,
        params={"n": 7},
        pipeline_package_path=str(kitchen.compiled(menu.sums)),
    )
    schedule_id = made.recurring_run_id
    kitchen.wait_for(lambda: len(runs_of(kitchen, schedule_id)) >= 2)
    client.disable_recurring_run(schedule_id)
    kitchen.wait_for(lambda: all(is_terminal(run.state) for run in runs_of(kitchen, schedule_id)))
    runs = client.list_runs(experiment_id=experiment, page_size=50).runs
    assert {run.recurring_run_id for run in runs} == {schedule_id}
    assert {run.state for run in runs} == {"SUCCEEDED"}
    assert {run.runtime_config.parameters["n"] for run in runs} == {7}
    due = [run.scheduled_at for run in runs]
    assert due == sorted(set(due))
    assert {at.microsecond for at in due} == {0}
    assert all(run.display_name.startswith("ticking 20") for run in runs)
    assert client.get_recurring_run(schedule_id).status == "DISABLED"
    client.delete_recurring_run(schedule_id)
    assert client.get_run(runs[0].run_id).state == "SUCCEEDED", "its runs stay"
    with pytest.raises(kfp_server_api.ApiException) as gone:
        client.get_recurring_run(schedule_id)
    assert gone.value.status == 404


def test_what_was_given_comes_back(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    start, end = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
    made = client.create_recurring_run(
        experiment,
        "nightly",
        description="of the sums",
        cron_expression="CRON_TZ=Europe/Berlin 0 30 2 ? * 1-5",
        start_time=start.isoformat(),
        end_time=end.isoformat().replace("+00:00", "Z"),
        max_concurrency=3,
        no_catchup=True,
        params={"n": 1},
        pipeline_package_path=str(kitchen.compiled(menu.sums)),
        enabled=False,
    )
    found = client.get_recurring_run(made.recurring_run_id)
    assert found.to_dict() == made.to_dict()
    assert (found.display_name, found.description) == ("nightly", "of the sums")
    assert found.trigger.cron_schedule.cron == "CRON_TZ=Europe/Berlin 0 30 2 ? * 1-5"
    assert (found.trigger.cron_schedule.start_time, found.trigger.cron_schedule.end_time) == (
        start,
        end,
    )
    assert (found.max_concurrency, found.no_catchup) == ("3", True)
    assert (found.mode, found.status, found.namespace) == ("DISABLE", "DISABLED", "dataops")
    assert found.experiment_id == experiment
    assert found.pipeline_spec["pipelineInfo"]["name"] == "sums"
    schedule = find_schedule(kitchen.platform.stores, made.recurring_run_id)
    assert schedule.next_at == "2027-01-01T01:30:00.000000Z"
    client.enable_recurring_run(made.recurring_run_id)
    assert client.get_recurring_run(made.recurring_run_id).status == "ENABLED"


@pytest.mark.parametrize(("no_catchup", "count"), [(None, 3), (False, 3), (True, 1)])
def test_catching_up(
    kitchen: Any,
    client: kfp.Client,
    menu: SimpleNamespace,
    experiment: str,
    no_catchup: Any,
    count: int,
) -> None:
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3, minutes=30)
    made = client.create_recurring_run(
        experiment,
        "hourly",
        interval_second=3600,
        start_time=start.isoformat(),
        max_concurrency=10,
        no_catchup=no_catchup,
        pipeline_package_path=str(kitchen.compiled(menu.sums)),
    )
    kitchen.wait_for(lambda: len(runs_of(kitchen, made.recurring_run_id)) == count)
    due = [run.scheduled_for for run in runs_of(kitchen, made.recurring_run_id)]
    hours = range(4 - count, 4)
    assert due == [
        (start + timedelta(hours=n)).strftime("%Y-%m-%dT%H:%M:%S.000000Z") for n in hours
    ]


def test_of_a_pipeline_by_version_and_by_its_latest(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    pipeline = client.upload_pipeline_from_pipeline_func(menu.sums, pipeline_name="recurring-sums")
    (version,) = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    pinned = client.create_recurring_run(
        experiment,
        "pinned",
        cron_expression="0 0 6 * * *",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
    )
    reference = client.get_recurring_run(pinned.recurring_run_id).pipeline_version_reference
    assert reference.pipeline_version_id == version.pipeline_version_id
    start = datetime.now(UTC) - timedelta(minutes=90)
    body = {
        "display_name": "latest",
        "experiment_id": experiment,
        "pipeline_version_reference": {"pipeline_id": pipeline.pipeline_id},
        "trigger": {
            "periodic_schedule": {"interval_second": "3600", "start_time": start.isoformat()}
        },
        "max_concurrency": "1",
        "mode": "DISABLE",
    }
    latest = client.recurring_runs.recurring_run_service_create_recurring_run(recurring_run=body)
    newer = client.upload_pipeline_version_from_pipeline_func(
        menu.tables, "tables", pipeline_id=pipeline.pipeline_id
    )
    client.enable_recurring_run(latest.recurring_run_id)
    kitchen.wait_for(lambda: len(runs_of(kitchen, latest.recurring_run_id)) == 1)
    (run,) = runs_of(kitchen, latest.recurring_run_id)
    assert run.pipeline_digest == newer.tags["digest"]
    shown = client.get_run(run.id).pipeline_version_reference
    assert shown.pipeline_version_id == newer.pipeline_version_id


def test_lists_of_recurring_runs(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    package = str(kitchen.compiled(menu.sums))
    for n in range(3):
        client.create_recurring_run(
            experiment,
            f"yearly {n}",
            cron_expression="@yearly",
            pipeline_package_path=package,
            enabled=n != 1,
        )
    first = client.list_recurring_runs(experiment_id=experiment, page_size=2, sort_by="name desc")
    second = client.list_recurring_runs(
        experiment_id=experiment,
        page_size=2,
        sort_by="name desc",
        page_token=first.next_page_token,
    )
    names = [one.display_name for page in (first, second) for one in page.recurring_runs]
    assert (names, first.total_size) == (["yearly 2", "yearly 1", "yearly 0"], 3)
    disabled = json.dumps(
        {"predicates": [{"operation": 1, "key": "status", "stringValue": "DISABLED"}]}
    )
    found = client.list_recurring_runs(experiment_id=experiment, filter=disabled)
    assert [one.display_name for one in found.recurring_runs] == ["yearly 1"]
    assert client.list_recurring_runs(namespace="staging").recurring_runs == []


def test_archiving_an_experiment_pauses_its_recurring_runs(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    made = client.create_recurring_run(
        experiment,
        "yearly",
        cron_expression="@yearly",
        pipeline_package_path=str(kitchen.compiled(menu.sums)),
    )
    client.archive_experiment(experiment)
    assert client.get_recurring_run(made.recurring_run_id).status == "DISABLED"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cron_expression": "0 0 25 * * *"}, "its hour is '25'"),
        ({"cron_expression": "TZ=Mars/Olympus 0 0 1 * * *"}, "no time zone 'Mars/Olympus'"),
        ({"interval_second": -1}, "1 second to ten years"),
        ({"interval_second": 60, "max_concurrency": 0}, "max_concurrency is 0"),
        ({"interval_second": 60, "params": {"n": "many"}}, "'n'"),
        ({"interval_second": 60, "params": {"m": 1}}, "no parameter 'm'"),
        ({"interval_second": 60, "start_time": "2027-01-01T00:00:00"}, "no time zone"),
        ({"interval_second": 60, "start_time": "soon"}, "start_time"),
        (
            {"cron_expression": "@yearly", "end_time": "2020-01-01T00:00:00Z"},
            "never be due",
        ),
    ],
)
def test_what_cannot_recur(
    kitchen: Any,
    client: kfp.Client,
    menu: SimpleNamespace,
    experiment: str,
    options: dict[str, Any],
    says: str,
) -> None:
    package = str(kitchen.compiled(menu.sums))
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.create_recurring_run(experiment, "bad", pipeline_package_path=package, **options)
    assert refused.value.status == 400
    assert says in json.loads(refused.value.body)["message"]
    assert client.list_recurring_runs(experiment_id=experiment).recurring_runs == []


def test_a_name_is_no_id(
    kitchen: Any, client: kfp.Client, menu: SimpleNamespace, experiment: str
) -> None:
    client.create_recurring_run(
        experiment,
        "named",
        cron_expression="@yearly",
        pipeline_package_path=str(kitchen.compiled(menu.sums)),
    )
    with pytest.raises(kfp_server_api.ApiException) as refused:
        client.delete_recurring_run("named")
    assert refused.value.status == 404
