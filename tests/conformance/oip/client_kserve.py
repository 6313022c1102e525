"""KServe's own clients, in KServe's own environment: `client_kserve.py http://HOST:PORT HOST:PORT`.

Every assertion is about what the client makes of our answers.
"""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, RESTConfig
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.infer_type import RequestedOutput

COLUMNS = {
    "bool": np.array([True, False, True]),
    "int8": np.array([-1, 0, 127], np.int8),
    "int16": np.array([-1, 0, 1], np.int16),
    "int32": np.array([-1, 0, 1], np.int32),
    "int64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "uint8": np.array([0, 1, 255], np.uint8),
    "uint16": np.array([0, 1, 2], np.uint16),
    "uint32": np.array([0, 1, 2], np.uint32),
    "uint64": np.array([0, 1, 2**64 - 1], np.uint64),
    "fp16": np.array([0.5, 1.0, -2.0], np.float16),
    "fp32": np.array([0.1, 1.0, -2.0], np.float32),
    "fp64": np.array([0.1, 1.0, -2.0]),
    "bytes": np.array([b"a", b"", "Zürich".encode()], dtype=object),
}


def request_of(binary, columns=COLUMNS, model="echo", **more):
    made = []
    for name, values in columns.items():
        made.append(InferInput(name, [len(values)], name.upper() if model == "echo" else "FP64"))
        # KServe itself sends no FP16 as JSON.
        made[-1].set_data_from_numpy(values, binary_data=binary or name == "fp16")
    return InferRequest(model_name=model, infer_inputs=made, **more)


def check(reply):
    assert reply.model_name == "echo"
    for output in reply.outputs:
        expected, got = COLUMNS[output.name], output.as_numpy()
        if output.name == "bytes":
            texts = [one if isinstance(one, bytes) else one.encode() for one in got]
            assert texts == expected.tolist(), texts
        else:
            assert got.dtype == expected.dtype, output.name
            assert got.tolist() == expected.tolist(), output.name


async def rest(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "echo")
    for binary in (True, False):
        request = request_of(binary, request_id="mine")
        reply = await client.infer(url, request, model_name="echo")
        assert reply.id == "mine"
        check(reply)
    wanted = [RequestedOutput("fp64", {"binary_data": True}), RequestedOutput("bytes")]
    reply = await client.infer(url, request_of(True, request_outputs=wanted), model_name="echo")
    assert [output.name for output in reply.outputs] == ["fp64", "bytes"]
    check(reply)
    zipped = {"accept-encoding": "gzip, deflate"}
    check(await client.infer(url, request_of(False), model_name="echo", headers=zipped))
    try:
        await client.infer(url, request_of(False), model_name="eco")
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 404
        assert "Did you mean echo?" in error.response.json()["error"]
    else:
        raise AssertionError("eco is served")
    await client.close()


async def grpc(address):
    client = InferenceGRPCClient(address, retries=0)
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("echo")
    check(await client.infer(request_of(True)))
    pair = {"a": np.array([1.5, 2.5]), "b": np.array([1.0, 2.0])}
    reply = await client.infer(request_of(False, pair, "sums"))
    assert reply.outputs[0].as_numpy().tolist() == [2.5, 4.5]
    staging = [("seamline-environment", "staging")]
    reply = await client.infer(request_of(True, pair, "sums"), headers=staging)
    assert reply.outputs[0].as_numpy().tolist() == [2.5, 4.5]
    stub = client._client_stub
    typed = await stub.ModelInfer(request_of(False, pair, "sums").to_grpc())
    assert not typed.raw_output_contents
    assert list(typed.outputs[0].contents.fp64_contents) == [2.5, 4.5]
    answer = await stub.RepositoryModelUnload(
        messages.RepositoryModelUnloadRequest(model_name="sums")
    )
    assert (answer.model_name, answer.isUnloaded) == ("sums", True)
    assert not await client.is_model_ready("sums")
    answer = await stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(model_name="sums"))
    assert (answer.model_name, answer.isLoaded) == ("sums", True)
    assert await client.is_model_ready("sums")
    await client.close()


async def main(url, address):
    await rest(url)
    await grpc(address)
    print("all of it")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
