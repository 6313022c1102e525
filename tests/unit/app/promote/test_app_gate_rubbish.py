"""What somebody else answers can be anything: it is an error of that gate, or a verdict that can be
kept and shown; the promotion is decided in any case."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.gate_results import gate_results
from seamline.promote.policy import ExternalGate

from .conftest import House
from .good_release import good_release

FAIL, ERROR = Verdict.FAIL, Verdict.ERROR
#: Answer → what the gate is, and says.
ANSWERS: dict[str, tuple[bytes, Verdict, str]] = {
    "no number": (b'{"verdict": "fail", "rate": NaN}', ERROR, "cannot be kept as evidence"),
    "too large": (b'{"verdict": "fail", "rate": 1e999}', ERROR, "cannot be kept as evidence"),
    "many digits": (b'{"verdict": "fail", "n": 12345678901234567890}', ERROR, "cannot be kept"),
    "half a letter": (b'{"verdict": "fail", "x": "\\ud800"}', ERROR, "cannot be kept"),
    "no end of lists": (b"[" * 100_000, ERROR, "gave no answer"),
    "a list": (b'["pass"]', ERROR, "gave no verdict"),
    "a verdict that is a list": (b'{"verdict": ["pass"]}', ERROR, "gave no verdict"),
    "bytes": (b"\xff\xfe", ERROR, "gave no answer"),
    "control characters": (
        b'{"verdict": "fail", "sentence": "it\\u0000s\\u001b[2J fine\\r\\nor\\u202e not"}',
        FAIL,
        "says: it s [2J fine or not",
    ),
    "a long speech": (b'{"verdict": "fail", "sentence": "' + b"no " * 9000 + b'"}', FAIL, "no no"),
    "a sentence that is none": (b'{"verdict": "fail", "sentence": {"a": 1}}', FAIL, "{'a': 1}"),
}


@contextmanager
def answering(body: bytes, length: int | None = None) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_whatever_is_answered_the_promotion_is_decided(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    for what, (body, verdict, says) in ANSWERS.items():
        with answering(body) as url:
            board = ExternalGate("board", url, timeout_s=5.0)
            good.apply(replace(good.policy, gates=("digests",), external=(board,)))
            asked = good.ask()
            with house.stores.db.read() as connection:
                found = {one.gate: one for one in gate_results(connection, asked)}
        one = found["external:board"]
        assert (one.verdict, says in one.sentence) == (verdict, True), (what, one.sentence)
        assert len(one.sentence) <= 2000 and one.sentence.isprintable(), what
        ended = PromotionPhase.ERRORED if verdict is ERROR else PromotionPhase.FAILED
        assert good.phase(asked) is ended, what


def test_an_answer_that_breaks_off_is_an_error(house: House, tmp_path: Path) -> None:
    good = good_release(house, tmp_path)
    with answering(b'{"verdict": "pass"', length=100) as url:
        board = ExternalGate("board", url, timeout_s=5.0)
        good.apply(replace(good.policy, gates=("digests",), external=(board,)))
        asked = good.ask()
    assert good.shut(asked)["external:board"][0] is ERROR
    assert good.phase(asked) is PromotionPhase.ERRORED
