"""Workers that load their models while the plane that will ask of them is still being imported.

A worker's start is nearly all its libraries' imports, and the plane's start is nearly all its own:
here the one does not wait for the other. So this module imports little, and is used first. A worker
is started for what a signed snapshot names, with the words in which the plane will ask for it: one
that it asks for in other words is not taken. It verifies its wheel itself, as any worker does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import zipfile
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from seamline.domain.errors import SeamlineError
from seamline.serve.workers.interpreter import start_interpreter
from seamline.serve.workers.wire import encode_frame
from seamline.trust.keys import PublicKey, load_public_key
from seamline.trust.statements import SNAPSHOT_TYPE, open_envelope

#: The snapshot has been taken by then, or is not to be; what nobody wanted gives its memory back.
UNWANTED_AFTER_S = 60.0
SCRIPT = "worker_main.py"

Header = dict[str, Any]


class Named(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...


class SignatureLike(Protocol):
    @property
    def inputs(self) -> Sequence[Named]: ...
    @property
    def outputs(self) -> Sequence[Named]: ...


class Startable(Protocol):
    """What of an endpoint a worker is told."""

    @property
    def wheel_path(self) -> str: ...
    @property
    def package_digest(self) -> str: ...
    @property
    def module(self) -> str: ...
    @property
    def signature(self) -> SignatureLike: ...


class _Column(msgspec.Struct):
    name: str
    datatype: str


class _Signature(msgspec.Struct):
    inputs: list[_Column]
    outputs: list[_Column]


class _Endpoint(msgspec.Struct):
    """Of `snapshots.snapshot.EndpointSpec` what is needed here, without what that imports."""

    wheel_path: str
    package_digest: str
    module: str
    python: str
    signature: _Signature
    twin: str = ""
    family: Any = None


class _Snapshot(msgspec.Struct):
    endpoints: list[_Endpoint]


class StartedAhead:
    """`take` gives away what was started; what is left at the end is closed."""

    def __init__(self) -> None:
        self._started: list[tuple[str, Header, Process]] = []
        self._closing: asyncio.TimerHandle | None = None

    async def start(self, root: Path, public_key_path: Path) -> None:
        """At most one a processor: more of them would only wait for one another."""
        for endpoint in list(_endpoints(root, public_key_path))[: os.cpu_count() or 1]:
            header = start_header(endpoint)
            with contextlib.suppress(OSError):  # whoever needs it says why it does not start
                process = await start_interpreter(endpoint.python, SCRIPT)
                if process.stdin is not None:
                    process.stdin.write(encode_frame(header))
                self._started.append((endpoint.python, header, process))
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(UNWANTED_AFTER_S, self.close)

    def take(self, python: str, header: Header) -> Process | None:
        """A process that was told just that, and still runs."""
        for one in self._started:
            if one[:2] == (python, header):
                self._started.remove(one)
                return one[2] if one[2].returncode is None else None
        return None

    def close(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
        for _, _, process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._started.clear()


def start_header(spec: Startable) -> Header:
    """What a worker is told first."""
    return {
        "op": "load",
        "parent": os.getpid(),
        "wheel_path": spec.wheel_path,
        "package_digest": spec.package_digest,
        "module": spec.module,
        "inputs": [(column.name, column.datatype) for column in spec.signature.inputs],
        "outputs": [(column.name, column.datatype) for column in spec.signature.outputs],
    }


def _endpoints(root: Path, public_key_path: Path) -> Iterator[_Endpoint]:
    """What will need a worker, of all snapshots that hold."""
    if (root / "places.json").exists():
        return  # paths of another machine: where its packages lie here is known later
    try:
        key = load_public_key(public_key_path)
    except (OSError, ValueError):
        return  # the plane says so
    for path in sorted((root / "serving").glob("[!.]*.json")):
        yield from (one for one in _read(path, key) if _needs_worker(one))


def _read(path: Path, key: PublicKey) -> list[_Endpoint]:
    """Nothing of what does not hold: the plane refuses it, and says why."""
    try:
        payload = open_envelope(path.read_bytes(), SNAPSHOT_TYPE, [key])
        return msgspec.json.decode(payload, type=_Snapshot).endpoints
    except (OSError, SeamlineError, msgspec.DecodeError):
        return []


def _needs_worker(endpoint: _Endpoint) -> bool:
    """A guess by what the wheel says of itself, unverified: a wrong one costs a process."""
    if endpoint.family is not None or endpoint.twin == "require":
        return False
    if endpoint.twin == "never":
        return True
    try:
        with zipfile.ZipFile(endpoint.wheel_path) as wheel:
            folder = endpoint.module.replace(".", "/")
            twin = json.loads(wheel.read(f"{folder}/model.json")).get("twin") or {}
            return not twin.get("digest")
    except (OSError, ValueError, KeyError, AttributeError, zipfile.BadZipFile):
        return False
