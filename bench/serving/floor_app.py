"""Floors: the least that an answer over HTTP costs here. No validation, metrics, log, or ids.

FLOOR=twin: ONNX Runtime in the ASGI process. FLOOR=pipe: one worker process with the pickled model,
asked over its pipes by raw floats; what comes while it works is its next batch.
MODEL: folder with twin.onnx and model.joblib.
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

MODEL = Path(os.environ["MODEL"])
LENGTH = struct.Struct("<I")


class Input(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class Request(msgspec.Struct):
    inputs: list[Input]


class Twin:
    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(MODEL / "twin.onnx", options)
        self.name = self.session.get_inputs()[0].name
        self.outputs = [one.name for one in self.session.get_outputs()][:1]

    async def predict(self, matrix: Any) -> Any:
        return self.session.run(self.outputs, {self.name: matrix.astype(np.float32)})[0]


class Pipe:
    def __init__(self) -> None:
        self.process: asyncio.subprocess.Process | None = None

    async def predict(self, matrix: Any) -> Any:
        pipe = asyncio.subprocess.PIPE
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, stdin=pipe, stdout=pipe
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        data = matrix.tobytes()
        self.process.stdin.write(LENGTH.pack(len(matrix)) + data)
        return np.frombuffer(await self.process.stdout.readexactly(8 * len(matrix)), np.int64)


class App:
    """Requests that are read in one turn of the loop, or while the model works, are one batch."""

    def __init__(self, model: Twin | Pipe) -> None:
        self.model = model
        self.decode = msgspec.json.Decoder(Request).decode
        self.encode = msgspec.json.Encoder().encode
        self.waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self.running: asyncio.Task[None] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        given = self.decode(body).inputs[0]
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.waiting.append((np.array(given.data, np.float64).reshape(given.shape), reply))
        if self.running is None:
            self.running = asyncio.create_task(self.run())
        said = (await reply).tolist()
        output = {"name": "label", "shape": [len(said)], "datatype": "INT64", "data": said}
        text = self.encode({"model_name": "floor", "outputs": [output]})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def run(self) -> None:
        while self.waiting:
            batch, self.waiting = self.waiting, []
            said = await self.model.predict(np.concatenate([rows for rows, _ in batch]))
            start = 0
            for rows, reply in batch:
                if not reply.done():
                    reply.set_result(said[start : start + len(rows)])
                start += len(rows)
        self.running = None


def answer_pipe() -> None:
    """The worker's end."""
    import joblib

    model = joblib.load(MODEL / "model.joblib")
    width = model.n_features_in_
    while head := sys.stdin.buffer.read(LENGTH.size):
        (rows,) = LENGTH.unpack(head)
        matrix = np.frombuffer(sys.stdin.buffer.read(8 * rows * width)).reshape(rows, width)
        sys.stdout.buffer.write(model.predict(matrix).astype(np.int64).tobytes())
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    answer_pipe()
else:
    app = App(Twin() if os.environ["FLOOR"] == "twin" else Pipe())
