"""MLServer's types and codecs, in MLServer's own environment: `client_mlserver.py http://HOST:PORT`.

Its types are strict Pydantic models of the protocol: what they read is what the protocol says.
"""

import sys

import httpx
import numpy as np
import pandas as pd
from mlserver import types
from mlserver.codecs import NumpyCodec, PandasCodec, StringCodec

COLUMNS = {
    "bool": np.array([True, False]),
    "int8": np.array([-1, 127], np.int8),
    "int16": np.array([-1, 1], np.int16),
    "int32": np.array([-1, 1], np.int32),
    "int64": np.array([-(2**63), 2**63 - 1], np.int64),
    "uint8": np.array([0, 255], np.uint8),
    "uint16": np.array([0, 2], np.uint16),
    "uint32": np.array([0, 2], np.uint32),
    "uint64": np.array([0, 2**63], np.uint64),
    "fp16": np.array([0.5, -2.0], np.float16),
    "fp32": np.array([0.25, -2.0], np.float32),
    "fp64": np.array([0.1, -2.0]),
}
TEXTS = ["a", "Zürich"]


def main(url):
    client = httpx.Client(base_url=url)
    server = types.MetadataServerResponse.model_validate_json(client.get("/v2").text)
    assert server.name == "seamline"
    model = types.MetadataModelResponse.model_validate_json(client.get("/v2/models/sums").text)
    assert [one.name for one in model.inputs] == ["a", "b"]
    index = client.post("/v2/repository/index", content="")
    items = types.RepositoryIndexResponse.model_validate_json(index.text).root
    ready = types.State.READY.value
    states = [(one.name, one.version, one.state) for one in items]
    assert states == [(name, "1.0.0", ready) for name in ("echo", "slow", "sums")]
    inputs = [NumpyCodec.encode_input(name, values) for name, values in COLUMNS.items()]
    inputs.append(StringCodec.encode_input("bytes", TEXTS, use_bytes=False))
    reply = infer(client, "echo", types.InferenceRequest(id="mine", inputs=inputs))
    assert (reply.model_name, reply.model_version, reply.id) == ("echo", "1.0.0", "mine")
    for output in reply.outputs:
        if output.name == "bytes":
            assert StringCodec.decode_output(output) == TEXTS
        else:
            decoded = NumpyCodec.decode_output(output)
            assert decoded.dtype == COLUMNS[output.name].dtype, output.name
            assert decoded.ravel().tolist() == COLUMNS[output.name].tolist()
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [0.5, 0.5]})
    reply = infer(client, "sums", PandasCodec.encode_request(frame))
    assert PandasCodec.decode_response(reply)["sum"].tolist() == [1.5, 2.5]
    wrong = types.InferenceRequest(inputs=[NumpyCodec.encode_input("aa", np.array([1.0]))])
    refused = client.post("/v2/models/sums/infer", content=wrong.model_dump_json())
    assert refused.status_code == 400
    error = types.InferenceErrorResponse.model_validate_json(refused.text)
    assert "the model takes 2: a, b" in error.error
    print("all of it")


def infer(client, model, request):
    answer = client.post(f"/v2/models/{model}/infer", content=request.model_dump_json())
    assert answer.status_code == 200, answer.text
    return types.InferenceResponse.model_validate_json(answer.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
