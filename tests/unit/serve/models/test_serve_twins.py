"""ONNX twins in the plane's process: answered, refused, replaced by the worker."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from seamline.domain.errors import DigestMismatch, MachineryError, Unavailable
from seamline.serve.datatypes import to_list
from seamline.serve.engine import ModelFailed
from seamline.serve.metrics import Metrics
from seamline.serve.models import twins
from seamline.serve.models.twins import NoTwin, TwinEngine, TwinRefused
from seamline.serve.running_models import RunningModels
from seamline.serve.snapshots.snapshot import TwinPolicy
from seamline.serve.workers.worker import ModelWorker, WorkerProcess

INFER = "/v2/models/late-arrival/infer"


def columns(*hours):
    return {
        "hour": np.array(hours),
        "carrier": ["UA", None, "B6"][: len(hours)],
        "temp": [None, 1.5, 2.5][: len(hours)],
    }


def start(spec):
    return asyncio.run(TwinEngine.start(spec))


def test_says_what_the_model_says(workspace, graph_of):
    spec = workspace.endpoint(graph=graph_of(1.0))

    async def run():
        twin, worker = await TwinEngine.start(spec), await WorkerProcess.start(spec)
        asked = columns(6, 12, 18)
        said = await twin.predict(asked, 3), await worker.predict(asked, 3)
        await worker.close()
        await twin.close()
        return said, twin.is_alive

    (by_twin, by_worker), is_alive = asyncio.run(run())
    assert by_twin.keys() == by_worker.keys()
    assert by_twin["label"].tolist() == by_worker["label"].tolist() == [0, 1, 1]
    assert by_twin["label"].dtype == by_worker["label"].dtype
    assert by_twin["score"] == pytest.approx(by_worker["score"], abs=1e-6)
    assert by_twin["score"].dtype == by_worker["score"].dtype
    assert not is_alive


def test_a_row_on_which_the_graph_fails_is_the_models_failure(workspace, graph_of):
    twin = start(workspace.endpoint(graph=graph_of(1.0)))
    with pytest.raises(ModelFailed, match=r"ONNX twin of late-arrival 1\.0\.1 .* failed on these"):
        asyncio.run(twin.predict(columns(99), 1))
    assert asyncio.run(twin.predict(columns(12), 1))["score"].tolist() == [0.5]


def test_a_dear_batch_leaves_the_loop(workspace, graph_of, monkeypatch):
    twin = start(workspace.endpoint(graph=graph_of(1.0)))
    threads = []
    run = twin.predict_now

    def watched(*given):
        threads.append(threading.current_thread())
        return run(*given)

    monkeypatch.setattr(twin, "predict_now", watched)

    async def ask(limit):
        monkeypatch.setattr(twins, "LOOP_S", limit)
        await twin.predict(columns(12), 1)

    asyncio.run(ask(10.0))
    asyncio.run(ask(0.0))
    asyncio.run(twin.close())
    assert threads[0] is threading.main_thread()
    assert threads[1].name.startswith("twin-late-arrival")


def test_a_batch_that_was_held_up_is_not_dear(workspace, graph_of, monkeypatch):
    twin = start(workspace.endpoint(graph=graph_of(1.0)))
    now_s, took_s, threads = [0.0], [0.0], []
    graph = twin._graph

    class Slow:
        def outputs(self, given, rows):
            threads.append(threading.current_thread())
            now_s[0] += took_s[0]
            return graph.outputs(given, rows)

    monkeypatch.setattr(twin, "_graph", Slow())
    monkeypatch.setattr(twins, "time", SimpleNamespace(perf_counter=lambda: now_s[0]))

    def leaves(*seconds):
        for took_s[0] in seconds:
            asyncio.run(twin.predict(columns(12), 1))
        return threads[-1] is not threading.main_thread()

    assert not leaves(1e-5, 1e-5, 0.009, 1e-5)
    assert not leaves(0.009, 1e-5, 0.009, 1e-5)
    assert leaves(*[0.002] * 20)
    assert not leaves(1e-5, 1e-5)
    assert leaves(0.1, 0.1)  # the second one
    asyncio.run(twin.close())


def test_one_that_rests_wakes_from_verified_bytes(workspace, graph_of):
    spec = workspace.endpoint(graph=graph_of(1.0))
    path = Path(spec.wheel_path)
    approved = path.read_bytes()

    async def run():
        twin = await TwinEngine.start(spec)
        await twin.rest()
        states = [(twin.is_alive, twin.is_resting, twin.can_answer)]
        woken = (await twin.predict(columns(12), 1))["score"].tolist()
        states.append((twin.is_alive, twin.is_resting, twin.can_answer))
        await twin.rest()
        path.write_bytes(approved + b"x")
        with pytest.raises(Unavailable, match=spec.package_digest):
            await twin.predict(columns(12), 1)
        await twin.close()
        with pytest.raises(Unavailable, match="no longer served"):
            await twin.predict(columns(12), 1)
        return states, woken

    states, woken = asyncio.run(run())
    assert states == [(False, True, True), (True, False, True)]
    assert woken == [0.5]


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({}, NoTwin, "nobody made one"),
        ({"graph": b"no graph"}, TwinRefused, "does not load"),
        ({"offset": 0.1}, TwinRefused, "it says 0.35 of sample row 0, the model said 0.25"),
        ({"beside": "weights.bin"}, TwinRefused, "does not load"),
        ({"task": "regression"}, TwinRefused, "another task"),
        ({"package_digest": "sha256:" + "0" * 64}, DigestMismatch, "sha256:" + "0" * 64),
    ],
)
def test_one_that_must_not_answer_says_why(
    workspace, graph_of, given, error, says, tmp_path, monkeypatch
):
    (tmp_path / "weights.bin").write_bytes(bytes(100))
    monkeypatch.chdir(tmp_path)
    made = {name: given.pop(name) for name in ("offset", "beside") if name in given}
    if made or "task" in given or "package_digest" in given:
        given["graph"] = graph_of(1.0, **made)
    with pytest.raises(error) as caught:
        start(workspace.endpoint(**given))
    assert says in str(caught.value)
    if error is NoTwin:
        assert not isinstance(caught.value, TwinRefused)


def test_labels_may_differ_only_at_the_threshold(workspace, graph_of):
    rows = [{"hour": 12, "carrier": None, "temp": None}]
    near = {"rows": rows, "outputs": {"score": [0.4999], "label": [0]}}
    start(workspace.endpoint(graph=graph_of(1.0), samples=near))
    rows = [{"hour": 24, "carrier": None, "temp": None}]
    far = {"rows": rows, "outputs": {"score": [1.0], "label": [0]}}
    with pytest.raises(TwinRefused, match="label 1 of sample row 0"):
        start(workspace.endpoint(graph=graph_of(1.0), samples=far))


@pytest.mark.parametrize(
    ("policy", "offset", "runs_on"),
    [
        (TwinPolicy.PREFER, 0.0, TwinEngine),
        (TwinPolicy.REQUIRE, 0.0, TwinEngine),
        (TwinPolicy.NEVER, 0.0, ModelWorker),
        (TwinPolicy.PREFER, 0.1, ModelWorker),
        (TwinPolicy.REQUIRE, 0.1, None),
    ],
)
def test_the_policy_says_what_answers(workspace, graph_of, policy, offset, runs_on):
    spec = workspace.endpoint(graph=graph_of(1.0, offset=offset), twin=policy)
    metrics = Metrics()

    async def run():
        models = RunningModels(metrics, lambda: None)
        try:
            model = await models.answering("production", spec)
            outputs = await model.batcher.submit(columns(12), 1)
            return type(model.worker), to_list(outputs["score"])
        finally:
            await models.close()

    labels = 'environment="production",endpoint="late-arrival"'
    if runs_on is None:
        with pytest.raises(MachineryError, match="is to be answered by the ONNX twin"):
            asyncio.run(run())
    else:
        assert asyncio.run(run()) == (runs_on, [0.5])
        expected = int(runs_on is TwinEngine)
        assert f"seamline_endpoint_twin{{{labels}}} {expected}" in metrics.render()
    is_refused = f"seamline_twin_refusals_total{{{labels}}} 1" in metrics.render()
    assert is_refused == bool(offset)


def test_the_plane_starts_no_process_for_a_twin(workspace, start_plane, request_of, graph_of):
    workspace.deploy(1, workspace.endpoint(graph=graph_of(1.0)))
    plane = start_plane()
    assert plane.await_snapshot(1)["version"] == 1
    assert plane.workers() == set()
    status, reply, _ = plane.ask("POST", INFER, request_of(6, 12, carrier=None))
    assert (status, reply["outputs"][1]["data"]) == (200, [0.25, 0.5])
    assert reply["outputs"][0]["data"] == [0, 1]
    status, reply, _ = plane.ask("POST", INFER, request_of(99))
    assert (status, "failed on these rows" in reply["error"]) == (500, True)


def test_a_tampered_wheel_has_no_twin_either(workspace, start_plane, graph_of):
    spec = workspace.endpoint(graph=graph_of(1.0))
    path = Path(spec.wheel_path)
    path.write_bytes(path.read_bytes() + b"x")
    workspace.deploy(1, spec, dataclasses.replace(spec, endpoint="other", twin=TwinPolicy.REQUIRE))
    state = start_plane().await_snapshot(1)
    assert state["version"] is None
    assert state["error"].count(spec.package_digest) == 2


def test_the_runtime_keeps_what_it_sees_to_itself(tmp_path, graph_of):
    """Otherwise it has a file of what it will send, and an id, below the user's home."""
    (tmp_path / "graph").write_bytes(graph_of(1.0))
    program = (
        "import sys; from pathlib import Path; from seamline.serve.models.twins import _session; "
        "assert _session(Path(sys.argv[1]).read_bytes()).get_inputs()"
    )
    # On a machine that tests for others, it is silent by itself.
    its_own = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME")
    environ = {name: text for name, text in os.environ.items() if name not in its_own}
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", program, str(tmp_path / "graph")]
    subprocess.run(command, check=True, env={**environ, "HOME": str(home)})
    assert not list(home.iterdir())
