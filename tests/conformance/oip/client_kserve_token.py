"""KServe's own clients with a token: `client_kserve_token.py http://HOST:PORT HOST:PORT TOKEN`.

The token is for `sums` in production, and for nothing else.
"""

import asyncio
import sys

import grpc
import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import InferenceGRPCClient, RESTConfig


def request_for(model):
    pair = [InferInput(name, [1], "FP64") for name in ("a", "b")]
    for one, value in zip(pair, (1.0, 2.0), strict=True):
        one.set_data_from_numpy(np.array([value]))
    return InferRequest(model_name=model, infer_inputs=pair)


async def rest(url, token):
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_ready(url)  # without one
    mine = {"Authorization": f"Bearer {token}"}
    reply = await client.infer(url, request_for("sums"), model_name="sums", headers=mine)
    assert reply.outputs[0].as_numpy().tolist() == [3.0]
    for model, headers, status in (("sums", {}, 401), ("echo", mine, 403)):
        try:
            await client.infer(url, request_for(model), model_name=model, headers=headers)
        except httpx.HTTPStatusError as error:
            assert error.response.status_code == status
            assert "seamline token issue" in error.response.json()["error"]
        else:
            raise AssertionError(f"{model} answered with {headers}")
    await client.close()


async def over_grpc(address, token):
    client = InferenceGRPCClient(address)
    assert await client.is_server_ready()
    mine = [("authorization", f"Bearer {token}")]
    reply = await client.infer(request_for("sums"), headers=mine)
    assert reply.outputs[0].as_numpy().tolist() == [3.0]
    for model, headers, code in (
        ("sums", [], "UNAUTHENTICATED"),
        ("echo", mine, "PERMISSION_DENIED"),
    ):
        try:
            await client.infer(request_for(model), headers=headers)
        except grpc.RpcError as error:
            assert error.code().name == code
        else:
            raise AssertionError(f"{model} answered with {headers}")
    await client.close()


asyncio.run(rest(sys.argv[1], sys.argv[3]))
asyncio.run(over_grpc(sys.argv[2], sys.argv[3]))
print("all of it")
