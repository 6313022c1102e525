"""Who comes back for a run is held until it ends; nobody else is, and no thread waits."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import kfp
import pytest

import seamline.server
from seamline.protocols.application import make_application
from seamline.protocols.kfp_api import holding, runs
from seamline.protocols.kfp_api.holding import Attention, Seen, Visitor, decide_hold_s


@pytest.fixture
def start(kitchen: Any, menu: SimpleNamespace, tmp_path: Path) -> Callable[[], tuple[str, Path]]:
    """A run that goes on until its flag is there; created by a client of its own kind."""

    def begin() -> tuple[str, Path]:
        flag = tmp_path / "flag"
        made = other_client(kitchen, "creator").create_run_from_pipeline_func(
            menu.holding, arguments={"flag": str(flag)}
        )
        return made.run_id, flag

    return begin


def other_client(kitchen: Any, name: str) -> kfp.Client:
    client = kitchen.client()
    client._run_api.api_client.user_agent = name
    return client


def wait_until_held(kitchen: Any, run_id: str, count: int = 1) -> None:
    waiting = kitchen.app.state.run_ends._waiting
    deadline = time.monotonic() + 120
    while len(waiting.get(run_id, ())) != count:
        assert time.monotonic() < deadline, f"{len(waiting.get(run_id, ()))} are held"
        time.sleep(0.005)


def test_the_first_look_is_answered_and_the_second_held(
    kitchen: Any, start: Callable[[], tuple[str, Path]]
) -> None:
    run_id, flag = start()
    client = other_client(kitchen, "poller")
    assert client.get_run(run_id).state in ("PENDING", "RUNNING")
    with ThreadPoolExecutor() as pool:
        held = pool.submit(client.get_run, run_id)
        wait_until_held(kitchen, run_id)
        assert other_client(kitchen, "passer-by").get_run(run_id).state in ("PENDING", "RUNNING")
        assert not held.done()
        flag.touch()
        assert held.result(120).state == "SUCCEEDED"
    assert client.get_run(run_id).state == "SUCCEEDED"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine takes longer than that to ask, and to end a run."""
    monkeypatch.setattr(holding, "JUST_CREATED_S", 120.0)
    monkeypatch.setattr(holding, "HELD_AFTER_CREATION_S", 120.0)


def test_whoever_has_just_created_it_is_held_at_once(
    kitchen: Any, start: Callable[[], tuple[str, Path]], patient: None
) -> None:
    run_id, flag = start()
    with ThreadPoolExecutor() as pool:
        held = pool.submit(other_client(kitchen, "creator").get_run, run_id)
        wait_until_held(kitchen, run_id)
        flag.touch()
        assert held.result(120).state == "SUCCEEDED"


def test_wait_for_run_completion_asks_once(
    patient: None, client: kfp.Client, menu: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    request = client._run_api.api_client.rest_client.GET

    def counted(url: str, **more: Any) -> Any:
        asked.append(url)
        return request(url, **more)

    monkeypatch.setattr(client._run_api.api_client.rest_client, "GET", counted)
    created = client.create_run_from_pipeline_func(menu.sums)
    assert created.wait_for_run_completion(timeout=300).state == "SUCCEEDED"
    assert len([url for url in asked if created.run_id in url]) == 1


def raw_get(url: str, run_id: str) -> socket.socket:
    """A connection on which the run was asked for, answered, and asked for again."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=120)
    host = f"{address.hostname}:{address.port}"
    request = f"GET /apis/v2beta1/runs/{run_id} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: raw\r\n\r\n"
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"content-length" in head.lower():
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
        connection.sendall(request.encode())
    return connection


def test_a_client_that_leaves_is_not_waited_for(
    kitchen: Any, start: Callable[[], tuple[str, Path]]
) -> None:
    run_id, flag = start()
    connection = raw_get(kitchen.url, run_id)
    wait_until_held(kitchen, run_id)
    connection.close()
    wait_until_held(kitchen, run_id, 0)
    flag.touch()
    kitchen.wait_for_end(run_id)


def test_a_hundred_who_wait_take_no_thread_each(
    kitchen: Any, client: kfp.Client, start: Callable[[], tuple[str, Path]]
) -> None:
    run_id, flag = start()
    before = threading.active_count()
    connections = [raw_get(kitchen.url, run_id) for _ in range(100)]
    wait_until_held(kitchen, run_id, 100)
    assert threading.active_count() - before < 80
    assert client.list_runs(page_size=1).runs, "others are answered meanwhile"
    flag.touch()
    for connection in connections:
        answer = b""
        while b"0\r\n\r\n" not in answer:
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
        assert b'"state": "SUCCEEDED"' in answer
        connection.close()


def test_signs_of_life_are_white_space(
    kitchen: Any, start: Callable[[], tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT_S", 0.01)
    run_id, flag = start()
    connection = raw_get(kitchen.url, run_id)
    answer = b""
    while answer.count(b"1\r\n \r\n") < 3:
        answer += connection.recv(65536)
    flag.touch()
    while b"0\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    connection.close()
    chunks = answer.partition(b"\r\n\r\n")[2].split(b"\r\n")[1::2]
    assert json.loads(b"".join(chunks))["state"] == "SUCCEEDED"


def test_after_the_time_is_over_it_is_told_as_it_stands(
    kitchen: Any, start: Callable[[], tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attention, "hold_s", lambda *_: 0.05)
    run_id, flag = start()
    assert kitchen.client().get_run(run_id).state in {"PENDING", "RUNNING"}
    flag.touch()
    kitchen.wait_for_end(run_id)


def test_a_server_that_stops_answers_who_is_held(
    kitchen: Any, start: Callable[[], tuple[str, Path]], tmp_path: Path
) -> None:
    """Another door to the same house, as `seamline up` opens it."""
    run_id, flag = start()
    server = seamline.server._server(make_application(kitchen.platform))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        ready = threading.Event()
        thread = threading.Thread(target=server.run_until_stopped, args=(listener, ready.set))
        thread.start()
        assert ready.wait(120)
        connection = raw_get(url, run_id)
        deadline = time.monotonic() + 120
        while run_id not in server.config.app.state.run_ends._waiting:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        server.should_exit = True
        answer = b""
        while b"0\r\n\r\n" not in answer:
            piece = connection.recv(65536)
            assert piece, "it was cut off"
            answer += piece
        assert b'"state": "RUNNING"' in answer or b'"state": "PENDING"' in answer
        connection.close()
        thread.join()
    flag.touch()
    kitchen.wait_for_end(run_id)


def test_who_is_held_and_for_how_long() -> None:
    ann, bo = (Visitor("root", "127.0.0.1", name) for name in ("ann", "bo"))
    attention = Attention()
    assert attention.hold_s(ann, "r", 0.0) == 0
    attention.note_answered(ann, "r", 0.0)
    assert attention.hold_s(ann, "r", 15.0) == 600
    assert attention.hold_s(ann, "r", 15.1) == 0
    assert attention.hold_s(bo, "r", 5.0) == 0
    assert attention.hold_s(ann, "another", 5.0) == 0
    attention.note_created(bo, "r", 20.0)
    assert attention.hold_s(bo, "r", 22.0) == 5
    assert attention.hold_s(bo, "r", 22.1) == 0
    assert decide_hold_s(Seen(), 0.0) == 0


def test_what_is_remembered_is_bounded() -> None:
    attention = Attention()
    visitor = Visitor("root", "127.0.0.1", "ann")
    for number in range(10_000):
        attention.note_answered(visitor, f"run {number}", float(number))
    assert len(attention._seen) <= 4096
    assert attention.hold_s(visitor, "run 9999", 10_000.0) == 600
