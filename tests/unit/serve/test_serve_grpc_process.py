"""gRPC as an extra: without it the plane says what is missing; a taken port is one line."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

WITHOUT = """
import sys
sys.modules["grpc"] = None
from pathlib import Path
from seamline import dataplane
sys.exit(dataplane.main(Path(sys.argv[1]), "127.0.0.1", 0, grpc_port=0))
"""


def test_without_the_extra_it_says_how_to_get_it(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("seamline dataplane: gRPC needs a package")
    assert "pip install 'seamline[grpc]'" in ended.stderr
    assert not (tmp_path / "dataplane.json").exists()


def test_a_taken_port_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "seamline.dataplane", "--root", str(tmp_path)]
        command += ["--grpc-port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"gRPC cannot bind to 127.0.0.1:{port}" in ended.stderr.splitlines()[-1]


def test_nobody_pays_for_grpc_who_did_not_ask(plane):
    maps = Path(f"/proc/{plane.process.pid}/maps").read_text()
    assert "grpc" not in maps
    assert json.loads((plane.root / "dataplane.json").read_text())["grpc_port"] is None
