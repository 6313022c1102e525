"""`seamline run logs` over pieces, as the server gives them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from seamline.cli.root import seamline

TEXT = "".join(f"line {n}\n" for n in range(20_000))
PIECE = 65_536


class _Log(BaseHTTPRequestHandler):
    """The log ends with the last piece; the task is still running until that was read."""

    def do_GET(self) -> None:
        offset = int(parse_qs(urlsplit(self.path).query).get("offset", ["0"])[0])
        text = TEXT[offset : offset + PIECE]
        end = offset + len(text)
        whole = {"text": text, "offset": offset, "next_offset": end, "size_bytes": len(TEXT)}
        body = json.dumps({**whole, "is_complete": end == len(TEXT)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Log) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("more", [[], ["--follow"]])
def test_the_whole_log_is_printed(url: str, more: list[str]) -> None:
    found = CliRunner().invoke(seamline, ["--url", url, "run", "logs", "r1", "train", *more])
    assert found.exit_code == 0, found.output
    assert found.stdout.rstrip("\n") == TEXT.rstrip("\n")


def test_as_json_it_is_one_document(url: str) -> None:
    found = CliRunner().invoke(seamline, ["--url", url, "run", "logs", "r1", "train", "--json"])
    assert json.loads(found.stdout)["text"] == TEXT
