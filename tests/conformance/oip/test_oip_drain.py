"""A data plane that is told to end: what it works on is answered, whichever way it came."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

WHERE = "/v2/models/slow/infer"


def open_with(served, path, *headers):
    one = {"name": "path", "shape": [1], "datatype": "BYTES", "data": [str(path)]}
    body = json.dumps({"inputs": [one]}).encode()
    head = [f"POST {WHERE} HTTP/1.1", f"Host: {served.http}", f"Content-Length: {len(body)}"]
    host, port = served.http.split(":")
    connection = socket.create_connection((host, int(port)), timeout=120)
    connection.sendall("\r\n".join([*head, *headers, "", ""]).encode() + body)
    return connection


def read_all(connection):
    said = b""
    while part := connection.recv(65536):
        said += part
    return said


def test_what_is_in_work_is_answered_before_the_end(serve, tmp_path, until):
    root = tmp_path / "ending"
    root.mkdir()
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root), "--grpc-port", "0"]
    with serve(root, command) as served:
        gate = root / "gates" / "end"
        gate.touch()
        host, port = served.http.split(":")
        with (
            open_with(served, gate) as quick,
            # Whoever wants the connection to end goes by ASGI.
            open_with(served, gate, "Connection: close") as by_asgi,
            socket.create_connection((host, int(port)), timeout=120) as idle,
        ):
            until(Path(f"{gate}.reached").exists)
            assert served.ask("GET", "/v2/health/live")[0] == 200  # the others are taken by now
            os.kill(served.pid, signal.SIGTERM)
            assert idle.recv(1) == b""  # it has begun to end
            gate.unlink()
            for connection in (quick, by_asgi):
                head, _, body = read_all(connection).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert head.lower().count(b"\r\nconnection: close") == 1
                assert json.loads(body)["outputs"][0]["data"] == [True]
