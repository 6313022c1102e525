"""A real plane that is killed while it answers, and one whose disk fills up."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_until

from seamline.serve.log.prediction_log import INTERVAL_S
from seamline.serve.log.tables import read_segments
from seamline.serve.snapshots.snapshot import LogPolicy

ROWS = 100
INFER = "/v2/models/{}/infer"
#: The log's thread may have to wait for a processor, on a machine that is shared.
SLACK_S = 1.2
#: A longer pause between two answers is of a machine that did something else.
PAUSE_S = 0.02


@pytest.fixture
def logs_in_memory(tmp_path: Path) -> Iterator[None]:
    """A disk that is busy with others' work makes the interval as long as it pleases."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="seamline-log-", dir=memory if memory.is_dir() else None)
    (tmp_path / "logs").symlink_to(made)
    yield
    shutil.rmtree(made)


def test_a_killed_plane_has_logged_all_but_its_last_interval(
    logs_in_memory: None, plane: Any, request_of: Callable[..., dict[str, Any]]
) -> None:
    body = json.dumps(request_of(*range(ROWS)))
    answered: list[tuple[str, float]] = []

    def call() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", plane.port, timeout=120)
        try:
            while True:
                connection.request("POST", INFER.format("late-arrival"), body)
                reply = json.loads(connection.getresponse().read())
                answered.append((reply["parameters"]["prediction_id"], time.monotonic()))
        except (OSError, http.client.HTTPException):
            pass  # it was killed
        finally:
            connection.close()

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    wait_until(lambda: ages_of(answered)[:1] > [2 * (INTERVAL_S + SLACK_S)])
    plane.stop(signal.SIGKILL)
    for caller in callers:
        caller.join()
    frame = read_segments(plane.root / "logs" / "predictions" / "production")
    rows = Counter(frame["prediction_id"].to_list())
    assert set(rows.values()) == {ROWS}, "a request is there in part, or twice"
    answered.sort(key=lambda one: one[1])
    ages_s = zip(answered, ages_of(answered), strict=True)
    long_ago = [one for (one, _), age_s in ages_s if age_s > INTERVAL_S + SLACK_S]
    assert len(long_ago) > 10
    assert set(long_ago) <= set(rows), "more than an interval is lost"


def ages_of(answered: list[tuple[str, float]]) -> list[float]:
    """How long before the last one each was answered, of time in which the plane did answer."""
    times = sorted(at_s for _, at_s in answered)
    gaps = [min(after - before, PAUSE_S) for before, after in itertools.pairwise(times)]
    return [*itertools.accumulate([0.0, *gaps[::-1]])][::-1] if times else []


def test_a_full_disk_under_the_log(
    small_disk: Any,
    workspace: Any,
    start_plane: Callable[[], Any],
    request_of: Callable[..., dict[str, Any]],
    until: Callable[..., None],
) -> None:
    """`drop` goes on answering, `block` answers nothing that it cannot log; then all goes on."""
    audited = workspace.endpoint(endpoint="audited", on_log_full=LogPolicy.BLOCK)
    workspace.deploy(1, workspace.endpoint(), audited)
    plane = start_plane()
    plane.await_snapshot(1)
    answered: list[str] = []

    def ask(endpoint: str, rows: int = 1) -> tuple[int, dict[str, Any], dict[str, str]]:
        status, reply, headers = plane.ask(
            "POST", INFER.format(endpoint), request_of(*([6] * rows))
        )
        if status == 200:
            answered.append(reply["parameters"]["prediction_id"])
        return status, reply, headers

    def metric(name: str, log: str = "predictions") -> float:
        text = plane.ask("GET", "/metrics")[1]["text"]
        lines = [line for line in text.splitlines() if line.startswith(f'{name}{{log="{log}"')]
        return sum(float(line.split()[-1]) for line in lines)

    def logged() -> list[str]:
        frame = read_segments(small_disk.folder / "predictions" / "production")
        return [str(one) for one in frame["prediction_id"].to_list()]

    assert (ask("late-arrival")[0], ask("audited")[0]) == (200, 200)
    until(lambda: len(logged()) == 2)
    small_disk.fill()
    assert ask("audited", ROWS)[0] == 200  # nobody knows yet
    until(lambda: metric("seamline_log_stalled") == 1)
    status, reply, headers = ask("audited")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "No space left" in reply["error"]
    assert "Make room" in reply["error"]
    assert ask("late-arrival")[0] == 200
    assert metric("seamline_log_lost_rows_total") == 0
    status, reply, _ = plane.ask("POST", "/v2/feedback", {"id": "mine", "truth": 1})
    assert status == 503, "feedback is durable, or not taken"
    # More than may wait: 100,000 rows.
    assert [ask("late-arrival", 50_000)[0] for _ in range(3)] == [200] * 3
    kept = answered[:-1]
    assert metric("seamline_log_lost_rows_total") == 50_000
    assert ask("audited")[0] == 503
    small_disk.make_room()
    small_disk.grow("128m")
    until(lambda: metric("seamline_log_stalled") == 0)
    assert set(logged()) == set(kept)
    assert len(logged()) == len(kept) - 3 + ROWS + 100_000
    assert ask("audited")[0] == 200
    assert plane.ask("POST", "/v2/feedback", {"id": "mine", "truth": 1})[0] == 200
    assert plane.stop() == 0
    assert set(logged()) == {*kept, answered[-1]}
    assert "have been dropped" in (plane.root / "plane.log").read_text()
