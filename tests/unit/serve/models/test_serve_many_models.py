"""Many models behind one endpoint: rows go by key, models come and go, failures stay local."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import os
import re
import signal
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput, Unavailable
from seamline.serve.log.tables import read_segments
from seamline.serve.metrics import Metrics
from seamline.serve.models import shelf
from seamline.serve.models.many_models import ManyModels
from seamline.serve.models.shelf import Shelf, nobody_brings
from seamline.serve.models.warming import warm_as
from seamline.serve.snapshots.families import Column, Family, Member
from seamline.serve.snapshots.places import Place, take_wanted, write_places
from seamline.serve.snapshots.snapshot import Signature

INFER = "/v2/models/air-time/infer"
LOADER = "def opened(scale):\n    return {'scale': scale}\n"
MODEL = """
import os
from ._loader import opened

SCALE = opened({scale})["scale"]


class Model:
    def outputs(self, columns):
        prediction = []
        for hour in columns["hour"]:
            if hour == 13:
                raise ValueError("hour 13")
            if hour == 66:
                os._exit(66)
            prediction.append(float(hour) * SCALE)
        return {{"prediction": prediction, "pid": [os.getpid() for _ in prediction]}}


def load():
    {loading}
    return Model()
"""


def make_member(workspace, route: str, scale: float, *, loading: str = "", ballast: int = 0):
    module = f"air_time_{route.lower()}"
    memory = io.BytesIO()
    text = MODEL.format(scale=scale, loading=loading or f"Model.ballast = b'x' * {ballast}")
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in {"__init__.py": text, "_loader/__init__.py": LOADER}.items():
            archive.writestr(zipfile.ZipInfo(f"{module}/{name}"), content)
    digest = workspace.blobs.put(memory.getvalue())
    return Member(
        (route,), f"air-time-{route.lower()}", f"1.0.{scale:g}", digest, digest_of(b"payload"),
        str(workspace.blobs.path_of(digest)), f"{module}.whl", module, sys.executable,
    )  # fmt: skip


def endpoint_of(workspace, *members, default=None, memory_bytes=1 << 30):
    inputs = (Column("hour", "INT64"),)
    family = Family(("route",), inputs, members, memory_bytes, default)
    return workspace.endpoint(
        endpoint="air-time", model="air-time", model_version="family",
        package_digest=digest_of(repr(members).encode()), family=family, event_time=None,
        context=(), private=(),
        signature=Signature(
            (Column("route", "BYTES"), *inputs),
            (Column("prediction", "FP64"), Column("pid", "INT64")),
        ),
    )  # fmt: skip


def rows(*pairs: tuple[str, int]) -> dict:
    shape = [len(pairs)]
    routes, hours = [list(one) for one in zip(*pairs, strict=True)]
    return {
        "inputs": [
            {"name": "route", "datatype": "BYTES", "shape": shape, "data": routes},
            {"name": "hour", "datatype": "INT64", "shape": shape, "data": hours},
        ]
    }


def predictions(reply: dict) -> list[float]:
    return list(reply["outputs"][0]["data"])


@pytest.fixture
def serve(workspace, start_plane):
    def start(*members, **how):
        workspace.deploy(1, endpoint_of(workspace, *members, **how))
        process = start_plane()
        assert process.await_snapshot(1)["version"] == 1, process.await_snapshot(1)
        return process

    return start


def metric(plane, name: str) -> float:
    text = plane.ask("GET", "/metrics")[1]["text"]
    found = re.search(rf'^{name}{{[^}}]*endpoint="air-time"[^}}]*}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_rows_of_several_keys_are_answered_in_their_order_and_logged_by_version(workspace, serve):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 6)))
    asked = rows(("R5", 1), ("R2", 10), ("R5", 2), ("R1", 3), ("R2", 20))
    status, reply, _ = plane.ask("POST", INFER, asked)
    assert (status, predictions(reply)) == (200, [5.0, 20.0, 10.0, 3.0, 40.0])
    assert metric(plane, "seamline_models_loaded") == 3  # R1 proved the start
    assert plane.stop() == 0
    logged = read_segments(workspace.root / "logs" / "predictions" / "production")
    assert logged["model"].to_list() == [f"air-time-r{n}" for n in (5, 2, 5, 1, 2)]
    assert logged["model_version"].to_list() == [f"1.0.{n}" for n in (5, 2, 5, 1, 2)]
    assert len(set(logged["model_digest"])) == 3
    assert len(set(logged["prediction_id"])) == 1
    assert logged["row"].to_list() == [0, 1, 2, 3, 4]


def test_all_models_of_a_requirement_set_share_one_process_and_one_loader(workspace, serve):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 6)))
    _, reply, _ = plane.ask("POST", INFER, rows(*((f"R{n}", 1) for n in range(1, 6))))
    assert set(reply["outputs"][1]["data"]) == plane.workers()
    assert len(plane.workers()) == 1


def test_an_unknown_key_is_refused_with_the_nearest(workspace, serve):
    plane = serve(make_member(workspace, "JFK-LAX", 1), make_member(workspace, "EWR-SFO", 2))
    status, reply, _ = plane.ask("POST", INFER, rows(("EWR-SFO", 1), ("JFK-LAY", 1)))
    assert status == 400
    assert "no model for route=JFK-LAY (row 1)" in reply["error"]
    assert "route=JFK-LAX" in reply["error"]


def test_a_default_answers_unknown_keys_and_is_logged(workspace, serve):
    members = (make_member(workspace, "R1", 1), make_member(workspace, "R2", 2))
    plane = serve(*members, default="air-time-r2")
    status, reply, _ = plane.ask("POST", INFER, rows(("nowhere", 3), ("R1", 3)))
    assert (status, predictions(reply)) == (200, [6.0, 3.0])
    plane.stop()
    logged = read_segments(workspace.root / "logs" / "predictions" / "production")
    assert logged["model"].to_list() == ["air-time-r2", "air-time-r1"]


def test_least_recently_used_models_make_room(workspace, serve):
    """Each holds 32 MB; bare Python and four of them fit."""
    members = [make_member(workspace, f"R{n}", n, ballast=32_000_000) for n in range(1, 9)]
    plane = serve(*members, memory_bytes=180_000_000)
    for turn in range(3):
        for n in range(1, 9):
            status, reply, _ = plane.ask("POST", INFER, rows((f"R{n}", turn)))
            assert (status, predictions(reply)) == (200, [float(n * turn)])
            assert metric(plane, "seamline_models_memory_bytes") <= 180_000_000
    assert metric(plane, "seamline_model_evictions_total") >= 12
    assert 2 <= metric(plane, "seamline_models_loaded") <= 5
    loads = metric(plane, "seamline_model_loads_total")
    plane.ask("POST", INFER, rows(("R8", 1)))  # used last: still there
    assert metric(plane, "seamline_model_loads_total") == loads


def test_a_model_that_fails_costs_only_the_requests_that_hold_its_rows(workspace, serve):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 5)))
    asked = [rows((f"R{n % 4 + 1}", 13 if n % 8 == 7 else n % 7)) for n in range(32)]
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda body: plane.ask("POST", INFER, body), asked))
    for n, (status, reply, _) in enumerate(replies):
        if n % 8 == 7:
            assert status == 500
            assert "air-time-r4 1.0.4" in reply["error"]
            assert "hour 13" in reply["error"]
        else:
            assert (status, predictions(reply)) == (200, [float(n % 7) * (n % 4 + 1)])


def test_a_model_that_ends_the_process_is_refused_for_a_while_and_the_others_are_back(
    workspace, serve, until
):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 5)))
    before = plane.workers()
    asked = [rows((f"R{n % 3 + 1}", n)) for n in range(12)] + [rows(("R4", 66))]
    with ThreadPoolExecutor(13) as pool:
        replies = list(pool.map(lambda body: plane.ask("POST", INFER, body), asked))
    for n, (status, reply, _) in enumerate(replies[:-1]):
        assert (status, predictions(reply)) == (200, [float(n * (n % 3 + 1))]), reply
    assert replies[-1][0] == 503
    assert "exit code 66" in replies[-1][1]["error"]
    until(lambda: plane.workers() and not plane.workers() & before)
    until(lambda: plane.ask("POST", INFER, rows(("R4", 2)))[0] == 200)


def test_what_waited_behind_a_model_that_ends_the_process_is_asked_of_the_next_one(workspace):
    """However soon: before anybody but the waiting has seen the end."""
    members = tuple(make_member(workspace, f"R{n}", n) for n in range(1, 4))
    family = Family(("route",), (Column("hour", "INT64"),), members, 1 << 30)
    outputs = (Column("prediction", "FP64"), Column("pid", "INT64"))

    async def ask_all() -> list[object]:
        shelf = Shelf(
            "air-time",
            sys.executable,
            family,
            outputs,
            on_batch=lambda rows: None,
            on_restart=lambda: None,
            want=nobody_brings,
        )
        await shelf.start()
        try:
            for place in range(3):
                await shelf.predict(place, {"hour": [1]}, 1)
            os.kill(shelf.pid, signal.SIGSTOP)
            asked = [
                asyncio.create_task(shelf.predict(place, {"hour": [hour]}, 1))
                for place, hour in ((2, 66), (0, 5), (1, 5))
            ]
            for _ in range(20):  # turns in which they are sent
                await asyncio.sleep(0)
            os.kill(shelf.pid, signal.SIGCONT)
            return await asyncio.gather(*asked, return_exceptions=True)
        finally:
            await shelf.close()

    ended, first, second = asyncio.run(ask_all())
    assert isinstance(ended, Unavailable)
    assert "exit code 66" in str(ended)
    assert [list(one["prediction"]) for one in (first, second)] == [[5.0], [10.0]]


def test_altered_or_broken_bytes_of_one_key_are_refused_and_the_others_answer(workspace, serve):
    members = [make_member(workspace, f"R{n}", n) for n in range(1, 4)]
    members.append(make_member(workspace, "BROKEN", 9, loading="raise RuntimeError('no file')"))
    path = Path(members[2].wheel_path)
    plane = serve(*members)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")
    status, reply, _ = plane.ask("POST", INFER, rows(("R3", 1)))
    assert status == 503
    assert "air-time-r3" in reply["error"]
    assert "expected sha256:" in reply["error"]
    status, reply, _ = plane.ask("POST", INFER, rows(("BROKEN", 1), ("R1", 1)))
    assert status == 503
    assert "no file" in reply["error"]
    assert predictions(plane.ask("POST", INFER, rows(("R1", 4), ("R2", 4)))[1]) == [4.0, 8.0]


def test_what_is_fetched_behind_the_swap_is_asked_for_and_waited_for(workspace, serve, until):
    members = [make_member(workspace, f"R{n}", n) for n in range(1, 4)]
    here = {one.package_digest: Place(one.wheel_path, one.python) for one in members}
    write_places(workspace.root, here)  # a root that another one fills
    away = Path(members[2].wheel_path)
    aside = away.rename(away.with_name("aside"))
    plane = serve(*members)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(plane.ask, "POST", INFER, rows(("R3", 2), ("R1", 2)))
        until(lambda: take_wanted(workspace.root) == [members[2].package_digest])
        assert predictions(plane.ask("POST", INFER, rows(("R2", 2)))[1]) == [4.0]
        aside.rename(away)
        assert predictions(waits.result()[1]) == [6.0, 2.0]


def test_a_package_that_does_not_come_refuses_its_own_rows(workspace, monkeypatch):
    monkeypatch.setattr(shelf, "FETCH_WAIT_S", 0.1)
    members = [make_member(workspace, f"R{n}", n) for n in (1, 2)]
    Path(members[1].wheel_path).unlink()
    wanted = []

    def want(digest: str) -> bool:
        wanted.append(digest)
        return True

    async def check() -> None:
        spec = endpoint_of(workspace, *members)
        many = await ManyModels.start(spec, spec.family, Metrics(), (), want)
        with pytest.raises(Unavailable, match=r"air-time-r2 1\.0\.2 .* has not been fetched yet"):
            await many.submit({"route": ["R2"], "hour": np.array([2])}, 1)
        answer = await many.submit({"route": ["R1"], "hour": np.array([2])}, 1)
        assert list(answer["prediction"]) == [2.0]
        await many.close()

    asyncio.run(check())
    assert set(wanted) == {members[1].package_digest}


def test_a_cold_load_keeps_no_warm_model_waiting(workspace, serve, tmp_path, until):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = make_member(workspace, "SLOW", 3, loading=f"open({str(gate)!r}).read()")
    plane = serve(make_member(workspace, "R1", 1), slow)
    with ThreadPoolExecutor(1) as pool:
        cold = pool.submit(plane.ask, "POST", INFER, rows(("SLOW", 5), ("R1", 5)))
        with gate.open("w"):  # returns once the model reads
            for hour in range(5):
                assert predictions(plane.ask("POST", INFER, rows(("R1", hour)))[1]) == [hour]
            assert not cold.done()
        assert predictions(cold.result()[1]) == [15.0, 5.0]


def test_a_swap_changes_all_keys_at_once(workspace, serve):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 4)))
    plane.ask("POST", INFER, rows(("R1", 1), ("R2", 1), ("R3", 1)))
    workspace.deploy(
        2, endpoint_of(workspace, *(make_member(workspace, f"R{n}", n + 10) for n in range(1, 3)))
    )
    assert plane.await_snapshot(2)["version"] == 2
    assert predictions(plane.ask("POST", INFER, rows(("R1", 1), ("R2", 1)))[1]) == [11.0, 12.0]
    assert plane.ask("POST", INFER, rows(("R3", 1)))[0] == 400


def test_a_swap_waits_until_what_was_asked_for_before_is_loaded(workspace, serve, until):
    plane = serve(*(make_member(workspace, f"R{n}", n) for n in range(1, 7)))
    for asked in ("R2", "R4", "R3", "R6"):
        plane.ask("POST", INFER, rows((asked, 1)))
    assert metric(plane, "seamline_models_loaded") == 5
    after = [make_member(workspace, f"R{n}", n + 10) for n in range(1, 6)]
    after[3] = make_member(workspace, "R4", 9, loading="raise RuntimeError('no file')")
    workspace.deploy(2, endpoint_of(workspace, *after))
    assert plane.await_snapshot(2)["version"] == 2
    # R1 proved the start; R2 and R3 are as they were; R4 is broken, R6 is gone.
    until(lambda: metric(plane, "seamline_models_loaded") == 3)
    loads = metric(plane, "seamline_model_loads_total")
    assert predictions(plane.ask("POST", INFER, rows(("R3", 1), ("R2", 1)))[1]) == [13.0, 12.0]
    assert metric(plane, "seamline_model_loads_total") == loads
    assert plane.ask("POST", INFER, rows(("R4", 1)))[0] == 503
    assert predictions(plane.ask("POST", INFER, rows(("R5", 1)))[1]) == [15.0]


async def many_of(workspace, *members, memory_bytes=1 << 30) -> ManyModels:
    spec = endpoint_of(workspace, *members, memory_bytes=memory_bytes)
    return await ManyModels.start(spec, spec.family, Metrics(), ())


def test_of_what_was_asked_for_that_is_warm_which_fits(workspace):
    members = [make_member(workspace, f"R{n}", n, ballast=40 << 20) for n in range(1, 7)]

    async def check() -> None:
        before = await many_of(workspace, *members)
        for asked in ("R2", "R4", "R3"):
            await before.submit({"route": [asked], "hour": np.array([1])}, 1)
        many = await many_of(workspace, *members, memory_bytes=150 << 20)
        await warm_as(many, before)
        warm = [key for (key,) in many.recent_keys()]
        assert "R3" in warm, "what was asked for last"
        assert "R2" not in warm
        await before.close()
        await many.close()

    asyncio.run(check())


def test_a_swap_waits_for_no_model_for_good(workspace, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    slow = make_member(workspace, "R2", 3, loading=f"open({str(gate)!r}).read()")

    async def check() -> None:
        before = await many_of(workspace, *(make_member(workspace, f"R{n}", n) for n in (1, 2)))
        asked = {"route": ["R2"], "hour": np.array([2])}
        await before.submit(asked, 1)
        many = await many_of(workspace, make_member(workspace, "R1", 1), slow)
        await warm_as(many, before, within_s=0.05)
        answer = asyncio.ensure_future(many.submit(asked, 1))
        await asyncio.to_thread(lambda: gate.open("w").close())  # once the model reads
        assert list((await answer)["prediction"]) == [6.0]
        await before.close()
        await many.close()

    asyncio.run(check())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": ("rout",)}, "its keys are rout"),
        ({"default": "air-time-r9"}, "default 'air-time-r9' is no member"),
        ({"memory_bytes": 0}, "no memory"),
        ({"members": ()}, "and models"),
    ],
)
def test_a_family_that_cannot_be_served_is_refused(workspace, changes, message):
    given = {
        "keys": ("route",),
        "inputs": (Column("hour", "INT64"),),
        "members": (make_member(workspace, "R1", 1),),
        "memory_bytes": 1,
        **changes,
    }
    spec = endpoint_of(workspace, make_member(workspace, "R1", 1))
    with pytest.raises(InvalidInput, match=re.escape(message)):
        workspace.deploy(1, workspace_endpoint(spec, Family(**given)))


def workspace_endpoint(spec, family):
    return dataclasses.replace(spec, family=family)
