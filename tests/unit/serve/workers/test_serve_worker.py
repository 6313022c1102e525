"""Workers: real processes, real wheels, and the ways in which they fail."""

from __future__ import annotations

import asyncio
import venv
from pathlib import Path

import numpy as np
import pytest

from seamline.domain.errors import DigestMismatch, MachineryError, Unavailable
from seamline.serve.workers.worker import ModelFailed, ModelWorker, WorkerProcess


def columns(*hours, carrier="UA"):
    return {
        "hour": np.array(hours),
        "carrier": [carrier] * len(hours),
        "temp": np.full(len(hours), np.nan),
    }


def test_predicts_and_keeps_secrets_out(workspace, monkeypatch):
    monkeypatch.setenv("SEAMLINE_TOKEN", "secret")

    async def run():
        worker = await ModelWorker.start(workspace.endpoint())
        environment = Path(f"/proc/{worker.pid}/environ").read_bytes()
        outputs = await worker.predict(columns(6, 18), 2)
        with pytest.raises(ModelFailed, match="no carrier BOOM"):
            await worker.predict(columns(6, carrier="BOOM"), 1)
        again = await worker.predict(columns(24), 1)
        pid = worker.pid
        await worker.close()
        with pytest.raises(Unavailable, match="no longer served"):
            await worker.predict(columns(6), 1)
        return environment, outputs, again, worker.samples, pid

    environment, outputs, again, samples, pid = asyncio.run(run())
    assert b"SEAMLINE_TOKEN" not in environment
    assert outputs["label"].tolist() == [0, 1]
    assert outputs["score"].tolist() == [0.25, 0.75]
    assert again["score"].tolist() == [1.0]
    assert samples == 2
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"package_digest": "sha256:" + "0" * 64}, DigestMismatch, "sha256:" + "0" * 64),
        ({"module": "not_there"}, MachineryError, "No module named 'not_there'"),
        ({"wheel_path": "/nowhere.whl"}, MachineryError, "FileNotFoundError"),
        ({"python": "/no/python"}, MachineryError, "does not start"),
        ({"python": "/bin/false"}, Unavailable, "ended with exit code 1"),
    ],
)
def test_a_worker_that_cannot_serve_says_why(workspace, changes, error, says):
    async def run():
        await WorkerProcess.start(workspace.endpoint(**changes))

    with pytest.raises(error) as caught:
        asyncio.run(run())
    assert says in str(caught.value)


def test_an_output_that_the_signature_promises_and_the_model_lacks(workspace):
    spec = workspace.endpoint()
    promised = (*spec.signature.outputs, type(spec.signature.outputs[0])("why", "BYTES"))
    signature = type(spec.signature)(spec.signature.inputs, promised)

    async def run():
        await WorkerProcess.start(workspace.endpoint(signature=signature))

    with pytest.raises(MachineryError, match="returned label, score; its signature promises why"):
        asyncio.run(run())


def test_an_interpreter_without_numpy_serves_too(workspace, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    spec = workspace.endpoint(python=str(tmp_path / "bare" / "bin" / "python"))

    async def run():
        worker = await ModelWorker.start(spec)
        outputs = await worker.predict(columns(6, 18), 2)
        await worker.close()
        return outputs

    outputs = asyncio.run(run())
    assert outputs["label"].tolist() == [0, 1]
    assert outputs["score"].tolist() == [0.25, 0.75]


def test_restarts_are_counted(workspace):
    async def run():
        restarted = asyncio.Event()
        worker = await ModelWorker.start(workspace.endpoint(), restarted.set)
        first = worker.pid
        with pytest.raises(Unavailable, match="signal 9"):
            await worker.predict(columns(6, carrier="KILL"), 1)
        await restarted.wait()
        while not worker.is_alive:
            await asyncio.sleep(0.01)
        outputs = await worker.predict(columns(12), 1)
        second = worker.pid
        await worker.close()
        return first != second, outputs["score"].tolist()

    assert asyncio.run(run()) == (True, [0.5])
