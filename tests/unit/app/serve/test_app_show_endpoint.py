"""What is said of an endpoint: its state by what the data plane answers, its figures by the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from seamline.app.serve.ask_plane import PlaneLook, read_figures
from seamline.app.serve.endpoint_log import figures_of, minutes_of
from seamline.app.serve.show_endpoint import state_of
from seamline.serve.metrics import Metrics
from seamline.serve.snapshots.snapshot import Column, EndpointSpec, ServingSnapshot, Signature

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPEC = EndpointSpec(
    "late-arrival", "late-arrival", "1.0.1", "sha256:" + "a" * 64, "", "", "", "m", "t",
    Signature((Column("hour", "INT64"),), (Column("label", "INT64"),)), "python",
)  # fmt: skip
SNAPSHOT = ServingSnapshot("production", 7, "sha256:" + "b" * 64, "july", "", (SPEC,))


def health(**more: Any) -> dict[str, Any]:
    return {
        "snapshot_version": 7,
        "endpoints": [],
        "restarting": [],
        "release_alias": "june",
    } | more


@pytest.mark.parametrize(
    ("said", "state", "why"),
    [
        (health(endpoints=["late-arrival"]), "ready", ""),
        (
            health(endpoints=["late-arrival"], snapshot_version=6),
            "ready",
            "Still june answers: Snapshot 7 is being loaded.",
        ),
        (
            health(endpoints=["late-arrival"], snapshot_version=6, refused={"message": "altered"}),
            "ready",
            "Still june answers: altered",
        ),
        (
            health(endpoints=["late-arrival"], restarting=["late-arrival"]),
            "restarting",
            "Its worker",
        ),
        (health(refused={"message": "x", "endpoints": {"late-arrival": "why"}}), "failed", "why"),
        (health(refused={"message": "no key"}), "failed", "no key"),
        ({"ready": False}, "warming", "Snapshot 7 is being loaded."),
    ],
)
def test_the_state_is_the_data_planes(said: dict[str, Any], state: str, why: str) -> None:
    found = state_of(SPEC, SNAPSHOT, PlaneLook("http://x", said, {}))
    assert found["state"] == state
    assert found["why"].startswith(why) and bool(found["why"]) == bool(why)


def test_without_a_data_plane_it_is_down() -> None:
    assert state_of(SPEC, SNAPSHOT, None)["state"] == "down"


def test_figures_are_read_as_the_data_plane_writes_them() -> None:
    metrics = Metrics()
    metrics.count_request("production", 'of "x"\\', 200, 0.002)
    look = PlaneLook("", {}, read_figures(metrics.render()))
    labels = {"environment": "production", "endpoint": 'of "x"\\'}
    assert look.figure("seamline_requests_total", **labels, status="200") == 1
    assert look.figure("seamline_request_seconds_sum", **labels) == 0.002
    assert look.figure("seamline_requests_total", **labels) is None


def requests(*of: tuple[float, int, int]) -> pl.DataFrame:
    """(seconds ago, microseconds, status); what failed was asked elsewhere."""
    return pl.DataFrame(
        {
            "at": [NOW - timedelta(seconds=ago) for ago, _, _ in of],
            "latency_us": [taken for _, taken, _ in of],
            "status": [status for _, _, status in of],
            "plane": [None if status == 200 else "kiosk-7" for _, _, status in of],
        },
        schema={
            "at": pl.Datetime("us", "UTC"),
            "latency_us": pl.Int64(),
            "status": pl.Int16(),
            "plane": pl.String(),
        },
    )


def test_figures_leave_what_failed_out_of_the_latency() -> None:
    many = [(1.0, 1000 * (n + 1), 200) for n in range(100)]
    asked = requests(*many, (2, 60_000_000, 504), (2, 60_000_000, 504), (2, 5, 500))
    found = figures_of(asked, NOW - timedelta(seconds=10), NOW)
    assert (found["requests"], found["failed"], found["per_second"]) == (103, 3, 10.3)
    assert found["elsewhere"] == {"kiosk-7": 3}
    assert found["failed_by_status"] == {"500": 1, "504": 2}
    assert found["latency_s"] == pytest.approx({"p50": 0.050, "p95": 0.095, "p99": 0.099}, rel=0.03)


def test_figures_of_nothing() -> None:
    found = figures_of(requests(), NOW - timedelta(hours=1), NOW)
    assert found["latency_s"] == {"p50": None, "p95": None, "p99": None}
    assert minutes_of(requests(), NOW) == []


def test_minutes_are_those_in_which_somebody_asked() -> None:
    found = minutes_of(requests((200, 1000, 500), (61, 1000, 200), (119, 3000, 200)), NOW)
    assert [one["at"][11:16] for one in found] == ["11:56", "11:58"]
    assert [(one["requests"], one["failed"]) for one in found] == [(1, 1), (2, 0)]
    assert (found[0]["p50_s"], found[1]["p95_s"]) == (None, 0.003)
