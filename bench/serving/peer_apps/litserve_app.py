"""LitServe; batches of 32 that wait 2 ms. argv: its port, the pickled model.

Without postponed annotations: LitServe reads that of `decode_request`, as an object.
"""

import sys
from typing import Any

import joblib
import litserve
import numpy as np


class Bench(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = joblib.load(sys.argv[2])

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        return np.asarray(request["x"])

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output: Any) -> dict[str, int]:
        return {"label": int(output)}


if __name__ == "__main__":
    server = litserve.LitServer(
        Bench(max_batch_size=32, batch_timeout=0.002), accelerator="cpu", workers_per_device=1
    )
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False,
        log_level="warning",
    )  # fmt: skip
