"""kill -9 while hooks are told: every fact arrives, in the ledger's order, told twice at the most
where the server could not know that it had been told."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATIENCE_S = 300.0
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
PROJECT = """
project = "platform"
team = "platform"

[hooks.ci]
url = "{url}"
events = ["team.*"]
secret = "production/ci"
timeout = "60s"
"""


class Receiver:
    """Notes each request, and lets the test kill the server before it is heard, before the answer
    or after it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        #: Requests that came, heard or not.
        self.calls = 0
        self.url = ""
        self._came = threading.Condition()
        self._is_deaf = False
        self._gate = threading.Event()
        self._gate.set()

    def take(self, handler: http.server.BaseHTTPRequestHandler, answer: Callable[[], None]) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._came:
            self.calls += 1
            if not self._is_deaf:
                self.told.append(handler.headers["webhook-id"])
            self._came.notify_all()
        if self._gate.is_set():
            answer()
        else:
            self._gate.wait(PATIENCE_S)  # nobody is there any more to be answered

    def hold(self, *, is_deaf: bool = False) -> None:
        """From now on nothing is answered; what comes to the deaf has not come."""
        self._is_deaf = is_deaf
        self._gate.clear()

    def let_go(self) -> None:
        self._is_deaf = False
        self._gate.set()

    def wait_for(self, count: int) -> None:
        with self._came:
            assert self._came.wait_for(lambda: self.calls >= count, PATIENCE_S), self.told


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            def answer() -> None:
                self.send_response(204)
                self.end_headers()
                self.wfile.flush()

            made.take(self, answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A killed server leaves broken connections."""

    server = Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.let_go()
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_fact_arrives_in_order_whatever_is_killed(
    build_house: Callable[[Path], Any], receiver: Receiver, tmp_path: Path, soak: bool
) -> None:
    house = build_house(tmp_path)
    house.up()
    try:
        house.ask("/environments/production/secrets/ci", {"values": {"signing": KEY}})
        text = PROJECT.format(url=receiver.url)
        house.ask("/project/apply", {"text": text, "file": "seamline.toml"})
        wanted = 0
        for turn in range(200 if soak else 3):
            seen = receiver.calls
            if turn % 3:
                receiver.hold(is_deaf=turn % 3 == 2)  # killed before the answer, or before it came
            for number in range(3):
                house.ask("/teams", {"name": f"team-{turn}-{number}"})
                wanted += 1
            receiver.wait_for(seen + 1)
            house.kill()  # else: about when it is answered, or that is noted
            receiver.let_go()
            house.up()
        recorded = [one["id"] for one in house.facts("team.added")]
        assert len(recorded) == wanted
        house.until(lambda: house.ask("/hooks")[0]["delivered"] == wanted)
        [hook] = house.ask("/hooks")
        assert (hook["pending"], hook["failed"], hook["next"]) == (0, 0, None)
        newest = -1
        for place in map(recorded.index, receiver.told):
            assert newest <= place <= newest + 1, "one after the other; only the newest twice"
            newest = place
        assert newest == wanted - 1
    finally:
        house.down()
