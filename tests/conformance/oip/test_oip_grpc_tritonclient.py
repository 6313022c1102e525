"""The stock gRPC client of tritonclient, unmodified, over a real port."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from seamline.protocols.oip_messages import load_messages

COLUMNS = {
    "bool": np.array([True, False, True]),
    "int8": np.array([-1, 0, 127], np.int8),
    "int16": np.array([-1, 0, 1], np.int16),
    "int32": np.array([-1, 0, 1], np.int32),
    "int64": np.array([-(2**63), 0, 2**63 - 1], np.int64),
    "uint8": np.array([0, 1, 255], np.uint8),
    "uint16": np.array([0, 1, 2], np.uint16),
    "uint32": np.array([0, 1, 2**32 - 1], np.uint32),
    "uint64": np.array([0, 1, 2**64 - 1], np.uint64),
    "fp16": np.array([0.5, 1.0, -2.0], np.float16),
    "fp32": np.array([0.1, 1.0, -2.0], np.float32),
    "fp64": np.array([0.1, 1.0, -2.0]),
    "bytes": np.array(["a", "", "Zürich"], dtype=object),
}


@pytest.fixture
def client(plane):
    client = triton.InferenceServerClient(plane.grpc)
    yield client
    client.close()


def inputs():
    made = []
    for name, values in COLUMNS.items():
        made.append(triton.InferInput(name, [3], name.upper()))
        made[-1].set_data_from_numpy(values)
    return made


def sums(a, b=0.0):
    made = []
    for name, value in (("a", a), ("b", b)):
        made.append(triton.InferInput(name, [1], "FP64"))
        made[-1].set_data_from_numpy(np.array([value]))
    return made


def code_of(caught):
    return caught.value.status()


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1.0.0")
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "seamline"
    assert "model_repository" in metadata["extensions"]
    found = client.get_model_metadata("sums", as_json=True)
    assert [one["name"] for one in found["inputs"]] == ["a", "b"]
    assert found["inputs"][0] == {"name": "a", "datatype": "FP64", "shape": ["-1"]}
    assert found["versions"] == ["1.0.0"]


def test_every_datatype_raw(client):
    result = client.infer("echo", inputs(), request_id="mine")
    for name, values in COLUMNS.items():
        got = result.as_numpy(name)
        if name == "bytes":
            assert [text.decode() for text in got] == values.tolist()
        else:
            assert got.dtype == values.dtype
            assert got.tolist() == values.tolist()
    reply = result.get_response()
    assert reply.id == "mine"
    assert len(reply.raw_output_contents) == len(COLUMNS)
    assert not any(one.HasField("contents") for one in reply.outputs)
    assert len(reply.parameters["prediction_id"].string_param) == 36


def test_a_matrix_and_one_output(client):
    one = triton.InferInput("x", [2, 2], "FP64")
    one.set_data_from_numpy(np.array([[1.0, 2.0], [3.0, 4.0]]))
    wanted = [triton.InferRequestedOutput("sum")]
    result = client.infer("sums", [one], outputs=wanted)
    assert result.as_numpy("sum").tolist() == [3.0, 7.0]
    reply = result.get_response()
    assert len(reply.raw_output_contents) == 1
    assert not reply.outputs[0].HasField("contents")


def test_the_environment_is_named_by_metadata(client):
    headers = {"seamline-environment": "staging"}
    assert client.is_model_ready("sums", headers=headers)
    assert client.infer("sums", sums(1.0, 2.0), headers=headers).as_numpy("sum").tolist() == [3.0]
    with pytest.raises(InferenceServerException, match="There is no model 'echo'") as caught:
        client.infer("echo", inputs(), headers=headers)
    assert code_of(caught) == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match=r"Did you mean staging\?"):
        client.is_model_ready("sums", headers={"seamline-environment": "stagin"})


def test_errors_have_codes_and_say_what_to_do(client):
    with pytest.raises(InferenceServerException, match=r"Did you mean sums\?") as caught:
        client.infer("sum", sums(1.0))
    assert code_of(caught) == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException, match="no version of sums '9'"):
        client.infer("sums", sums(1.0), model_version="9")
    wrong = triton.InferInput("aa", [1], "FP64")
    wrong.set_data_from_numpy(np.array([1.0]))
    with pytest.raises(InferenceServerException, match=r"Did you mean a\?") as caught:
        client.infer("sums", [wrong])
    assert code_of(caught) == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match=r"is null \(or NaN\)"):
        client.infer("sums", sums(np.nan))
    wanted = [triton.InferRequestedOutput("sun")]
    with pytest.raises(InferenceServerException, match=r"Did you mean sum\?"):
        client.infer("sums", sums(1.0), outputs=wanted)
    with pytest.raises(InferenceServerException, match="whole microseconds"):
        client.infer("sums", sums(1.0), timeout=-1)
    with pytest.raises(InferenceServerException, match="the model's metadata") as caught:
        client.get_model_config("sums")
    assert code_of(caught) == "StatusCode.UNIMPLEMENTED"
    for output, what in (("classification", 1), ("shared_memory_region", "r")):
        request = service_pb2.ModelInferRequest(model_name="sums")
        request.inputs.add(name="x", datatype="FP64", shape=[1, 2]).contents.fp64_contents[:] = [
            1,
            2,
        ]
        kind = "int64_param" if what == 1 else "string_param"
        setattr(request.outputs.add(name="sum").parameters[output], kind, what)
        with pytest.raises(Exception, match="is not served here"):
            client._client_stub.ModelInfer(request)


def test_health_as_orchestrators_ask_it(plane):
    """`service` in field 1, `status` in field 1: 1 is serving."""
    with grpc.insecure_channel(plane.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        for service in ("", "inference.GRPCInferenceService", "staging"):
            asked = bytes([10, len(service)]) + service.encode()
            assert check(asked, timeout=120) == b"\x08\x01"
        with pytest.raises(grpc.RpcError, match=r"Did you mean staging\?") as caught:
            check(b"\n\x06stagin", timeout=120)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError, match="cannot be read"):
            check(b"\xff", timeout=120)


def test_what_is_not_served_says_so(plane):
    """Streams too, and other services; and what is no message at all."""

    def ask(method, body=b""):
        with grpc.insecure_channel(plane.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(method)(body, timeout=120)
        return caught.value.code().name, caught.value.details()

    service = "/inference.GRPCInferenceService"
    code, says = ask(f"{service}/ModelStreamInfer")
    assert (code, "Ask for ModelInfer." in says) == ("UNIMPLEMENTED", True)
    code, says = ask("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
    assert (code, "Known: ModelInfer, ModelMetadata," in says) == ("UNIMPLEMENTED", True)
    code, says = ask(f"{service}/ModelInfer", b"\xff\xff")
    assert (code, "cannot be read" in says) == ("INVALID_ARGUMENT", True)
    with grpc.insecure_channel(plane.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        list(channel.stream_stream(f"{service}/ModelStreamInfer")(iter([b"", b""]), timeout=120))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_too_much_is_refused(client):
    rows = 65_537
    made = []
    for name in ("a", "b"):
        made.append(triton.InferInput(name, [rows], "FP64"))
        made[-1].set_data_from_numpy(np.zeros(rows))
    with pytest.raises(InferenceServerException, match="65536 are answered at once") as caught:
        client.infer("sums", made)
    assert code_of(caught) == "StatusCode.RESOURCE_EXHAUSTED"
    one = triton.InferInput("a", [3 << 20], "FP64")
    one.set_data_from_numpy(np.zeros(3 << 20))
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sums", [one])
    assert code_of(caught) == "StatusCode.RESOURCE_EXHAUSTED"


def test_raw_and_inputs_have_to_agree(client, plane):
    stub = client._client_stub
    request = service_pb2.ModelInferRequest(model_name="sums")
    request.inputs.add(name="a", datatype="FP64", shape=[1])
    request.inputs.add(name="b", datatype="FP64", shape=[1])
    request.raw_input_contents.append(b"12345678")
    for change, says in (
        (lambda one: None, "2 inputs and 1 raw_input_contents"),
        (lambda one: one.raw_input_contents.append(b"1234567"), "no whole FP64s"),
        (lambda one: one.inputs[0].contents.fp64_contents.append(1.0), "typed and raw"),
        (lambda one: one.inputs[0].shape.append(-1), "has the shape"),
    ):
        bad = service_pb2.ModelInferRequest()
        bad.CopyFrom(request)
        if says != "2 inputs and 1 raw_input_contents" and "whole" not in says:
            bad.raw_input_contents.append(b"12345678")
        change(bad)
        with pytest.raises(Exception, match=says):
            stub.ModelInfer(bad)


def test_a_deadline_and_a_client_that_goes_away(client, plane, until):
    """The model is busy: what waits behind it is given up, and leaves the queue."""
    gate = plane.root / "gates" / "busy"
    gate.touch()
    busy = triton.InferInput("path", [1], "BYTES")
    busy.set_data_from_numpy(np.array([str(gate)], dtype=object))
    idle = triton.InferInput("path", [1], "BYTES")
    idle.set_data_from_numpy(np.array([""], dtype=object))
    with triton.InferenceServerClient(plane.grpc) as other:
        working = threading.Thread(target=other.infer, args=("slow", [busy]))
        working.start()
        until(Path(f"{gate}.reached").exists)
        with pytest.raises(InferenceServerException, match=r"within 0\.1 s") as caught:
            client.infer("slow", [idle], timeout=100_000)
        assert code_of(caught) == "StatusCode.DEADLINE_EXCEEDED"
        with pytest.raises(InferenceServerException) as caught:
            client.infer("slow", [idle], client_timeout=0.1)
        assert code_of(caught) == "StatusCode.DEADLINE_EXCEEDED"
        gate.unlink()
        working.join()
    assert client.infer("slow", [idle]).as_numpy("seen").tolist() == [False]


def test_repository(client):
    found = client.get_model_repository_index(as_json=True)["models"]
    assert [one["name"] for one in found] == ["echo", "slow", "sums"]
    assert {one["state"] for one in found} == {"READY"}
    client.unload_model("sums")
    assert not client.is_model_ready("sums")
    assert client.is_server_ready()
    client.load_model("sums")
    assert client.is_model_ready("sums")
    with pytest.raises(InferenceServerException, match="approved release") as caught:
        client.load_model("sums", config=json.dumps({"backend": "mine"}))
    assert code_of(caught) == "StatusCode.FAILED_PRECONDITION"
    with pytest.raises(InferenceServerException, match="There is no model 'foreign'"):
        client.load_model("foreign")


def test_requests_are_counted(client, plane):
    client.infer("sums", sums(1.0))
    _, text, _ = plane.ask("GET", "/metrics")
    assert b'endpoint="sums",status="200"' in text


def test_our_messages_are_theirs_byte_for_byte():
    """Every field of a request and of an answer, read by the one and written by the other."""
    ours = load_messages()
    full = service_pb2.ModelInferRequest(model_name="m", model_version="1", id="i")
    full.parameters["b"].bool_param = True
    full.parameters["i"].int64_param = -5
    full.parameters["s"].string_param = "text"
    full.parameters["d"].double_param = 0.5
    full.parameters["u"].uint64_param = 2**64 - 1
    tensor = full.inputs.add(name="x", datatype="FP64", shape=[1, -1])
    for field in tensor.contents.DESCRIPTOR.fields:
        values = {"bool_contents": [True], "bytes_contents": [b"\xff"]}.get(field.name, [3])
        getattr(tensor.contents, field.name).extend(values)
    tensor.parameters["p"].bool_param = False
    full.outputs.add(name="y").parameters["c"].int64_param = 1
    full.raw_input_contents.append(b"raw")
    bytes_of = full.SerializeToString(deterministic=True)
    read = ours["ModelInferRequest"].FromString(bytes_of)
    assert read.SerializeToString(deterministic=True) == bytes_of
    assert read.inputs[0].contents.uint64_contents == [3]
    for name, message in ours.items():
        theirs = service_pb2.DESCRIPTOR.message_types_by_name.get(name)
        for field in theirs.fields if theirs else ():
            own = message.DESCRIPTOR.fields_by_number[field.number]
            assert (own.name, own.type) == (field.name, field.type), name


def test_both_can_be_imported_in_one_process_in_either_order():
    for order in (("tritonclient.grpc", "ours"), ("ours", "tritonclient.grpc")):
        lines = {
            "tritonclient.grpc": "import tritonclient.grpc",
            "ours": "from seamline.protocols.oip_messages import load_messages; load_messages()",
        }
        subprocess.run([sys.executable, "-c", "\n".join(lines[one] for one in order)], check=True)
