"""Models that do what no model should: their own rows pay, and nobody's next answer is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tests.waiting import wait_until

from seamline.serve.engine import EngineLost
from seamline.serve.snapshots.snapshot import Column, Signature
from seamline.serve.workers import worker as worker_module
from seamline.serve.workers.worker import ModelFailed, ModelWorker, WorkerProcess

SOURCE = """
import os
import sys
import time


class Odd(BaseException):
    pass


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


def act(what, row):
    if what == "sys.exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "odd":
        raise Odd("odd")
    if what == "mute":
        raise Mute
    if what == "surrogates":
        raise ValueError("no \\ud800 here")
    if what == "fork":
        os.fork()
    if what == "kill":
        os.kill(os.getpid(), 9)
    if what and what.startswith("leave a helper"):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        open(what.split(":")[1], "w").write(str(pid))
        os.kill(os.getpid(), 9)
    return {
        "NaN": float("nan"),
        "surrogate": "\\ud800",
        "bytes": b"text",
        "object": object(),
        "number": 5,
        "huge": "x" * ((64 << 20) if what == "huge" else 0),
    }.get(what, "said")


class Model:
    def outputs(self, columns):
        said = [act(what, row) for row, what in enumerate(columns["carrier"])]
        hours = [float(hour) for hour in columns["hour"]]
        if "wide" in columns["carrier"]:
            import numpy
            hours = numpy.zeros((len(hours), 9 << 20))
        return {"score": hours, "why": said}


def load():
    return Model()
"""


@pytest.fixture
def spec(workspace):
    hour = Column("hour", "INT64")
    signature = Signature(
        inputs=(hour, Column("carrier", "BYTES", nullable=True)),
        outputs=(Column("score", "FP64"), Column("why", "BYTES")),
    )
    samples = {
        "rows": [{"hour": 6, "carrier": None}],
        "outputs": {"score": [6.0], "why": ["said"]},
    }
    return workspace.endpoint(source=SOURCE, signature=signature, samples=samples)


def rows(*given):
    return {"hour": np.array([hour for hour, _ in given]), "carrier": [what for _, what in given]}


async def ask(worker, hour, what=None):
    outputs = await worker.predict(rows((hour, what)), 1)
    return outputs["score"].tolist(), list(outputs["why"])


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("sys.exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("odd", "Odd: odd"),
        ("mute", "Mute: and cannot say why"),
        ("surrogates", "no .*ud800 here"),
        ("surrogate", "surrogates not allowed"),
        ("bytes", "output why, row 0: a bytes where text is due"),
        ("object", "output why, row 0: a object where text is due"),
        ("number", "output why, row 0: a int where text is due"),
        ("huge", "67108864 are the most"),
        ("wide", "75497472 bytes; 67108864 are the most"),
    ],
)
def test_what_a_model_raises_or_answers_ends_no_worker(one_worker, what, says):
    loop, worker = one_worker
    with pytest.raises(ModelFailed, match=says):
        loop.run_until_complete(ask(worker, 6, what))
    assert not worker.is_lost
    assert loop.run_until_complete(ask(worker, 7)) == ([7.0], ["said"])


@pytest.fixture(scope="module")
def one_worker(make_workspace, tmp_path_factory):
    """(its loop, one worker that all of them ask)"""
    made = make_workspace(tmp_path_factory.mktemp("abused"))
    with asyncio.Runner() as runner:
        worker = runner.run(WorkerProcess.start(spec.__wrapped__(made)))
        yield runner.get_loop(), worker
        runner.run(worker.kill())


def test_text_that_is_missing_is_null(one_worker):
    loop, worker = one_worker
    assert loop.run_until_complete(ask(worker, 6, "NaN")) == ([6.0], [None])


def test_what_a_model_forks_answers_nobody(one_worker):
    """Whether it comes back from the model as a second worker, or stays."""
    loop, worker = one_worker
    for hour in range(20):
        what = "fork" if hour % 5 == 0 else None
        assert loop.run_until_complete(ask(worker, hour, what)) == ([float(hour)], ["said"])


def test_the_end_of_a_worker_is_seen_and_its_helpers_end_with_it(spec, tmp_path):
    told = tmp_path / "helper"

    async def run():
        worker = await ModelWorker.start(spec)
        try:
            with pytest.raises(EngineLost, match="signal 9"):
                await ask(worker, 6, f"leave a helper:{told}")
            return await ask(worker, 7)
        finally:
            await worker.close()

    assert asyncio.run(run()) == ([7.0], ["said"])
    helper = Path("/proc", told.read_text(), "stat")

    def has_ended():
        try:
            return helper.read_text().split()[2] == "Z"
        except OSError:  # it went while it was looked at
            return True

    wait_until(has_ended)


def test_rows_that_kill_again_and_again_keep_nobody_waiting_longer(spec):
    paused: list[float] = []

    async def sleep(seconds):
        paused.append(seconds)

    async def run():
        worker = ModelWorker(await WorkerProcess.start(spec), lambda: None, sleep)
        try:
            for hour in range(4):
                with pytest.raises(EngineLost):
                    await ask(worker, hour, "kill")
                assert await ask(worker, hour) == ([float(hour)], ["said"])
        finally:
            await worker.close()

    asyncio.run(run())
    assert paused == [worker_module.FIRST_PAUSE_S] * 4


def test_a_worker_that_ends_by_itself_is_started_ever_slower(spec):
    paused: list[float] = []
    enough = asyncio.Event()

    async def sleep(seconds):
        paused.append(seconds)
        if len(paused) == 3:
            enough.set()
            await asyncio.Event().wait()

    async def run():
        worker = ModelWorker(await WorkerProcess.start(spec), lambda: None, sleep)
        try:
            while not enough.is_set():
                if worker._current is not None and not worker._current.is_lost:
                    worker._current._lose()
                await asyncio.sleep(0.01)
        finally:
            await worker.close()

    asyncio.run(run())
    assert paused == [worker_module.FIRST_PAUSE_S * step for step in (1, 2, 4)]
