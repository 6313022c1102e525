"""Other Python servers of the same model, each in a virtual environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import uv
from bench.serving.servers import Server, request_body

SCRIPTS = Path(__file__).parent / "peer_apps"
SCIKIT_LEARN = "scikit-learn==1.9.1"
V2_PATH = "/v2/models/bench/infer"


@dataclass(frozen=True)
class Peer:
    """`packages`: what its virtual environment has beside the model's library."""

    name: str
    packages: tuple[str, ...]


MLSERVER = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22")
PEERS = (
    # Without worker processes, which its newest release cannot start with today's uvloop.
    Peer("mlserver", MLSERVER),
    Peer("mlserver, batching", MLSERVER),
    Peer("kserve", ("kserve==0.21.0",)),
    Peer("litserve, batching", ("litserve==0.2.19", "uvloop", "httptools")),
    Peer("bentoml, batching", ("bentoml==1.4.39", "uvloop")),
)


def peers(cache: Path, folder: Path, model: Path, row: list[float]) -> list[Server]:
    """`folder`: where a peer's own files may lie; `model`: the pickled one."""
    return [_server(peer, _interpreter(cache, peer), folder, model, row) for peer in PEERS]


def _interpreter(cache: Path, peer: Peer) -> Path:
    """Made once for all variants of a peer."""
    place = cache / "peers" / peer.name.partition(",")[0]
    python = place / "bin" / "python"
    if not (place / "ready").exists():
        print(f"installing {peer.name}", file=sys.stderr)
        program = uv.find_uv_bin()
        subprocess.run([program, "venv", "-q", "--clear", str(place)], check=True)
        command = [program, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
        subprocess.run([*command, SCIKIT_LEARN, *peer.packages], check=True)
        (place / "ready").touch()
    return python


def _server(peer: Peer, python: Path, folder: Path, model: Path, row: list[float]) -> Server:
    program = peer.name.partition(",")[0]
    place = folder / peer.name.replace(", ", "-")
    place.mkdir(parents=True, exist_ok=True)
    body, plain = request_body(row), json.dumps({"x": row}).encode()
    if program == "mlserver":
        environment = _mlserver(place, model, is_batching="batching" in peer.name)
        command = (str(python.with_name("mlserver")), "start", str(place))
        return Server(peer.name, command, V2_PATH, body, environment, place)
    if program == "kserve":
        command = (str(python), str(SCRIPTS / "kserve_app.py"), "{port}", "{port1}", str(model))
        return Server(peer.name, command, V2_PATH, body, {}, place)
    if program == "litserve":
        command = (str(python), str(SCRIPTS / "litserve_app.py"), "{port}", str(model))
        quiet = {"LIT_DISABLE_UPDATE_CHECK": "1"}
        return Server(peer.name, command, "/predict", plain, quiet, place)
    command = (
        str(python.with_name("bentoml")), "serve", "bentoml_app:Bench", "--host", "127.0.0.1",
        "--port", "{port}", "--working-dir", str(SCRIPTS),
    )  # fmt: skip
    environment = {
        "MODEL": str(model),
        "BENTOML_HOME": str(place / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
    }
    rows = json.dumps({"x": [row]}).encode()
    return Server(peer.name, command, "/predict", rows, environment, place)


def _mlserver(place: Path, model: Path, *, is_batching: bool) -> dict[str, str]:
    """Its model settings lie in the folder; the rest is said by variables."""
    settings = {
        "name": "bench",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(model)},
    }
    batching = {"max_batch_size": 32, "max_batch_time": 0.005} if is_batching else {}
    (place / "model-settings.json").write_text(json.dumps({**settings, **batching}))
    return {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": "{port}",
        "MLSERVER_GRPC_PORT": "{port1}",
        "MLSERVER_METRICS_PORT": "{port2}",
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_DEBUG": "false",
    }
