"""Over a real port: nobody pays for another's request, and swaps drop none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

INFER = "/v2/models/late-arrival/infer"


@pytest.fixture(params=["python", "twin"])
def made(request, workspace, graph_of):
    """A spec of that scale, answered by a worker or by the ONNX twin."""

    def make(scale):
        graph = graph_of(scale) if request.param == "twin" else None
        return workspace.endpoint(scale, graph=graph)

    return make


def ask_together(plane, bodies):
    together = threading.Barrier(len(bodies))

    def send(body):
        together.wait()
        return plane.ask("POST", INFER, body)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, bodies))


def test_28_of_32_are_right_whatever_the_other_four_are(workspace, start_plane, request_of, made):

    workspace.deploy(1, made(1.0))
    plane = start_plane()
    assert plane.await_snapshot(1)["version"] == 1
    is_twin = not plane.workers()
    breaks = request_of(99) if is_twin else request_of(5, carrier="BOOM")
    bad = {3: request_of("noon"), 11: {"inputs": []}, 17: breaks, 29: breaks}
    replies = ask_together(plane, [bad.get(at, request_of(at % 24)) for at in range(32)])
    assert [replies[at][0] for at in bad] == [400, 400, 500, 500]
    good = [at for at in range(32) if at not in bad]
    assert [replies[at][0] for at in good] == [200] * 28
    for at in good:
        assert replies[at][1]["outputs"][1]["data"] == pytest.approx([at % 24 / 24], abs=1e-6)


def test_a_row_that_kills_the_worker_kills_no_other_answer(plane, request_of):
    """Those that were asked with it, and those that come while another worker is started."""
    bodies = [request_of(at % 24) for at in range(32)]
    bodies[9] = request_of(5, carrier="KILL")
    replies = ask_together(plane, bodies)
    assert (replies[9][0], "signal 9" in replies[9][1]["error"]) == (503, True)
    for at in (at for at in range(32) if at != 9):
        status, reply, *_ = replies[at]
        assert status == 200, reply
        assert reply["outputs"][1]["data"] == pytest.approx([at % 24 / 24])
    assert plane.ask("GET", "/v2/models/late-arrival/ready")[0] == 200


def test_eight_swaps_and_a_rollback_under_load_fail_no_request(
    workspace, start_plane, request_of, made
):
    first, second = made(1.0), made(2.0)
    workspace.deploy(1, first, standby=(second,))
    plane = start_plane()
    plane.await_standbys(1)
    stop, seen = threading.Event(), set()

    def load():
        while not stop.is_set():
            status, reply, _ = plane.ask("POST", INFER, request_of(12))
            assert status == 200, reply
            version = reply["model_version"]
            assert reply["outputs"][1]["data"] == [{"1.0.1": 0.5, "1.0.2": 1.0}[version]]
            seen.add(version)

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(load) for _ in range(4)]
        try:
            for version in range(2, 10):
                live, spare = (second, first) if version % 2 == 0 else (first, second)
                workspace.deploy(version, live, standby=(spare,))
                assert plane.await_snapshot(version)["version"] == version
            workspace.deploy(10, first)  # back, and what was live goes
            assert plane.await_snapshot(10)["version"] == 10
        finally:
            stop.set()
        for client in clients:
            client.result()
    assert seen == {"1.0.1", "1.0.2"}
