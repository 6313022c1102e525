"""KServe's model server, on loopback. argv: its port, the one for gRPC, the pickled model."""

from __future__ import annotations

import sys
from typing import Any

import joblib
import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Bench(Model):
    def __init__(self, path: str) -> None:
        super().__init__("bench")
        self.path = path

    def load(self) -> bool:
        self.model = joblib.load(self.path)
        self.ready = True
        return True

    def predict(self, payload: InferRequest, *_: Any, **__: Any) -> InferResponse:
        said = self.model.predict(payload.inputs[0].as_numpy())
        output = InferOutput(name="label", shape=list(said.shape), datatype="INT64")
        output.set_data_from_numpy(said, binary_data=False)
        return InferResponse(payload.id or "1", "bench", [output])


def stay_on_loopback() -> None:
    """It names every interface in its own code; a benchmark has no business there."""
    made = uvicorn.Config.__init__

    def make(self: uvicorn.Config, *given: Any, **named: Any) -> None:
        made(self, *given, **{**named, "host": "127.0.0.1"})

    uvicorn.Config.__init__ = make  # type: ignore[method-assign]


if __name__ == "__main__":
    stay_on_loopback()
    model = Bench(sys.argv[3])
    model.load()
    ModelServer(
        http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1, enable_grpc=False
    ).start([model])
