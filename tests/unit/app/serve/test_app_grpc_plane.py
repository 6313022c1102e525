"""`seamline up --grpc-port N` reaches the plane, and whoever finds the plane later."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

#: In a process that ends: what is started outlives it.
START = """
import json, sys
from pathlib import Path
from seamline.app.serve.data_plane import find_data_plane, start_or_adopt, stop_data_plane
from seamline.domain.errors import Conflict

root, port = Path(sys.argv[1]), int(sys.argv[2])
try:
    plane, adopted = start_or_adopt(root, "127.0.0.1", 0, port)
except Conflict as error:
    print(json.dumps({"refused": str(error)}))
    sys.exit()
again, _ = start_or_adopt(root, "127.0.0.1", 0)
stop_data_plane(plane)
print(json.dumps({"grpc": plane.grpc, "adopted": adopted, "same": again == plane}))
"""


def start(root, port):
    ended = subprocess.run(
        [sys.executable, "-c", START, str(root), str(port)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout)


def test_the_port_is_told_and_the_plane_is_adopted_with_it(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    expected = {"grpc": f"127.0.0.1:{port}", "adopted": False, "same": True}
    assert start(tmp_path, port) == expected


def test_none_is_the_default(tmp_path):
    assert start(tmp_path, 0)["grpc"] is None


def test_a_taken_port_is_told_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = start(tmp_path, port)["refused"]
    assert refused.endswith(f"127.0.0.1:{port}. Choose another --grpc-port.")
