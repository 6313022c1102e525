"""One endpoint's models in a process of their own, asked for many rows at a time.

The same worker, verification and proof as behind a many-model endpoint; but whoever asks waits, and
there is one asker. Of a family a model is loaded for its rows and given up after them, so that
memory does not grow with the number of models.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from seamline.domain.errors import DigestMismatch, MachineryError, Unavailable
from seamline.serve.datatypes import Columns
from seamline.serve.models.many_models import put_together, rows_at
from seamline.serve.snapshots.families import Member
from seamline.serve.snapshots.snapshot import EndpointSpec
from seamline.serve.workers import many_main
from seamline.serve.workers.frames import decode_outputs, pack_rows
from seamline.serve.workers.interpreter import worker_environment
from seamline.serve.workers.wire import LENGTHS, encode_frame

CLOSE_GRACE_S = 3.0
#: Of a load, or of the prediction of one chunk.
ANSWER_WITHIN_S = 300.0


class BulkWorker:
    """To be used as a context manager: the processes end with it."""

    is_twin = False

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec = spec
        self._family = spec.family
        self._members = (_member(spec),) if self._family is None else self._family.members
        self._inputs = spec.signature.inputs if self._family is None else self._family.inputs
        self._processes: dict[str, _Process] = {}
        self._loaded: set[int] = set()

    def __enter__(self) -> BulkWorker:
        return self

    def __exit__(self, *raised: object) -> None:
        for process in self._processes.values():
            process.close()

    def predict(self, columns: Columns, rows: int) -> Columns:
        """The outputs of these rows, in their order. Raises DigestMismatch, MachineryError or
        Unavailable: what a model does not answer stops all of it."""
        if self._family is None:
            return self._ask(0, columns, rows)
        index: dict[int, list[int]] = {}
        for row, place in enumerate(self._family.places_of(columns)):
            index.setdefault(place, []).append(row)
        own = {column.name: columns[column.name] for column in self._inputs}
        parts = []
        for place, mine in index.items():
            parts.append(self._ask(place, rows_at(own, mine), len(mine)))
            self._make_room(place)
        return put_together(list(index.values()), parts, rows)

    def _ask(self, place: int, columns: Columns, rows: int) -> Columns:
        member = self._members[place]
        process = self._process_of(member)
        if place not in self._loaded:
            self._load(process, place, member)
        header, body = pack_rows(columns, self._inputs, rows)
        header, body = process.ask({**header, "member": place}, body)
        if header["op"] == "failed":
            raise MachineryError(f"{_say(member)} failed: {header['type']}: {header['message']}")
        return decode_outputs(header, body)

    def _load(self, process: _Process, place: int, member: Member) -> None:
        header, _ = process.ask(
            {
                "op": "load",
                "member": place,
                "wheel_path": member.wheel_path,
                "package_digest": member.package_digest,
                "module": member.module,
                "inputs": _plain(self._inputs),
                "outputs": _plain(self.spec.signature.outputs),
            }
        )
        if "actual" in header:
            raise DigestMismatch(
                f"Wheel of {_say(member)}", expected=header["expected"], actual=header["actual"]
            )
        if header["op"] == "failed":
            raise MachineryError(
                f"{_say(member)} does not load: {header['type']}: {header['message']}"
            )
        self._loaded.add(place)

    def _make_room(self, newest: int) -> None:
        """All but the newest of its process go, once they are too many together."""
        process = self._processes[self._members[newest].python]
        if self._family is None or process.memory_bytes <= self._family.memory_bytes:
            return
        python = self._members[newest].python
        others = [
            one for one in self._loaded if one != newest and self._members[one].python == python
        ]
        if others:
            process.ask({"op": "drop", "members": others})
            self._loaded -= set(others)

    def _process_of(self, member: Member) -> _Process:
        process = self._processes.get(member.python)
        if process is None:
            process = _Process(member.python, f"endpoint {self.spec.endpoint}")
            self._processes[member.python] = process
        return process


class _Process:
    def __init__(self, python: str, name: str) -> None:
        self.memory_bytes = 0
        self._name, self._ids = name, itertools.count(1)
        script = str(Path(many_main.__file__).resolve())
        try:
            self._process = subprocess.Popen(
                [python, "-I", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                start_new_session=True, env=worker_environment(),
            )  # fmt: skip
        except OSError as error:
            raise MachineryError(f"{name}: {python} does not start: {error}.") from error
        self.ask({"op": "start", "parent": os.getpid()})

    def ask(self, header: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Unavailable when the process goes away, or is ended because it took too long."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise MachineryError("A worker without pipes.")
        watch = threading.Timer(ANSWER_WITHIN_S, self._kill)
        watch.start()
        try:
            stdin.write(encode_frame({**header, "id": next(self._ids)}, body))
            stdin.flush()
            lengths = LENGTHS.unpack(_exactly(stdout, LENGTHS.size))
            reply, answer = (_exactly(stdout, length) for length in lengths)
        except (OSError, EOFError) as error:
            code = self._process.wait()
            raise Unavailable(f"The worker of {self._name} ended with exit code {code}.") from error
        finally:
            watch.cancel()
        found: dict[str, Any] = msgspec.json.decode(reply)
        self.memory_bytes = found.get("memory_bytes", self.memory_bytes)
        return found, answer

    def close(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_GRACE_S)
        self._kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _member(spec: EndpointSpec) -> Member:
    return Member(
        (), spec.model, spec.model_version, spec.package_digest, spec.payload_digest,
        spec.wheel_path, spec.wheel_name, spec.module, spec.python,
    )  # fmt: skip


def _plain(columns: Iterable[Any]) -> list[tuple[str, str]]:
    return [(column.name, column.datatype) for column in columns]


def _say(member: Member) -> str:
    return f"{member.model} {member.model_version}"
