"""What is broken, too much or too slow on the wire: an error object, and the next one is served."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import zlib
from pathlib import Path

import pytest

INFER = "/v2/models/sums/infer"


def good(value=1.0):
    return {
        "inputs": [
            {"name": "a", "shape": [1], "datatype": "FP64", "data": [value]},
            {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
        ]
    }


@pytest.fixture(autouse=True)
def still_serves(plane):
    yield
    assert plane.ask("POST", INFER, good())[1]["outputs"][0]["data"] == [3.0]


def open_socket(served):
    host, port = served.http.split(":")
    return socket.create_connection((host, int(port)), timeout=120)


def read_answer(connection):
    """(status, error object) of what comes until the server closes."""
    data = b""
    while part := connection.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    return int(head.split()[1]), json.loads(body)


def with_input(**changes):
    body = good()
    body["inputs"][0].update(changes)
    return body


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (with_input(shape=[2**62, 2**62]), "differ in their number of rows"),
        (with_input(shape=[2**40]), "differ in their number of rows"),
        (with_input(shape=[10**30]), "cannot be read"),
        (with_input(shape=[-1]), "cannot be read"),
        (with_input(shape=[1] * 1_000_000), "cannot be read"),
        (with_input(shape=[1.5]), "cannot be read"),
        (with_input(data=[[[[[1.0]]]]]), "nested 5 deep"),
        (with_input(data=[1.0, 2.0]), "has 2 values"),
        (with_input(data=["1"]), "holds '1'"),
        (with_input(data=[True]), "holds True"),
        (with_input(data=[10**400]), "holds values beyond FP64"),
        (with_input(data={}), "cannot be read"),
        (with_input(datatype="FP46"), "Did you mean FP64?"),
        (with_input(datatype=["FP64"]), "cannot be read"),
        (with_input(name="c" * 5_000_000), "There is no input"),
        (with_input(name="b"), "An input is sent twice"),
        ({"inputs": []}, "no inputs"),
        ({"inputs": good()["inputs"], "outputs": [{"name": "sun"}]}, "Did you mean sum?"),
        ({"inputs": good()["inputs"], "parameters": {"timeout": "soon"}}, "whole microseconds"),
    ],
)
def test_bad_requests_say_what_is_wrong(plane, body, says):
    status, error, _ = plane.ask("POST", INFER, body)
    assert status == 400
    assert says in error["error"]
    assert len(error["error"]) < 5000


def test_deep_json_and_numbers_that_are_none(plane):
    for text in (b"[" * 2_000_000, b'{"inputs":' * 100_000, b'{"inputs": NaN}', b"1e999999"):
        status, error, _ = plane.ask("POST", INFER, text)
        assert (status, "cannot be read" in error["error"]) == (400, True)
    deep = b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": '
    deep += b"[" * 900 + b"1" + b"]" * 900 + b"}]}"
    assert plane.ask("POST", INFER, deep)[0] == 400


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (struct.pack("<I", 0xFFFFFFFF) + b"abc", "cut off"),
        (struct.pack("<I", 4) + b"abc", "cut off"),
        (b"\x01\x00", "cut off"),
        (struct.pack("<I", 1) + b"\xff", "not UTF-8"),
        (struct.pack("<I", 0) * 2, "has 2 values"),
        (b"", "has 0 values"),
    ],
)
def test_texts_whose_lengths_lie(plane, data, says):
    one = {"name": "path", "shape": [1], "datatype": "BYTES"}
    one["parameters"] = {"binary_data_size": len(data)}
    text = json.dumps({"inputs": [one]}).encode()
    length = {"Inference_Header_Content_Length": str(len(text))}
    status, error, _ = plane.ask("POST", "/v2/models/slow/infer", text + data, **length)
    assert status == 400
    assert says in error["error"]


@pytest.mark.parametrize("size", [-1, 0, 7, 9, 2**40, 1.5, True, "8"])
def test_sizes_that_lie(plane, size):
    one = {"name": "a", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [one]}).encode()
    length = {"Inference_Header_Content_Length": str(len(text))}
    status, error, _ = plane.ask("POST", INFER, text + b"12345678", **length)
    assert (status, "error" in error) == (400, True)


def zipped(data, times=1):
    for _ in range(times):
        data = gzip.compress(data, mtime=0)
    return data


ARCHIVES = {
    "cut": (lambda: zipped(b"{}")[:-9], "gzip", 400, "cut off"),
    "followed": (lambda: zipped(b"{}") + b"more", "gzip", 400, "is not gzip"),
    "none": (lambda: b"no gzip at all", "gzip", 400, "is not gzip"),
    "empty": (lambda: b"", "gzip", 400, "cut off"),
    "unknown": (lambda: zipped(b"{}"), "br", 400, "send gzip or deflate"),
    "bomb": (lambda: zipped(bytes(64 << 20)), "gzip", 413, "at most"),
    "deflated bomb": (lambda: zlib.compress(bytes(64 << 20)), "deflate", 413, "at most"),
    "bomb in a bomb": (lambda: zipped(bytes(64 << 20), 2), "gzip, gzip", 413, "at most"),
}


@pytest.mark.parametrize("name", sorted(ARCHIVES))
def test_broken_and_exploding_archives(plane, name):
    make, encoding, status, says = ARCHIVES[name]
    found, error, _ = plane.ask("POST", INFER, make(), Content_Encoding=encoding)
    assert found == status
    assert says in error["error"]


def test_two_archives_in_a_row_are_one_body(plane):
    text = json.dumps(good()).encode()
    packed = gzip.compress(text[:20]) + gzip.compress(text[20:])
    assert plane.ask("POST", INFER, packed, Content_Encoding="gzip")[0] == 200


def test_too_many_rows(plane):
    rows = 65_537
    one = {"name": "x", "shape": [rows, 2], "datatype": "FP64", "data": [0] * rows * 2}
    status, error, _ = plane.ask("POST", INFER, {"inputs": [one]})
    assert (status, "65536 are answered at once" in error["error"]) == (413, True)


def test_a_hundred_megabytes(plane):
    """The client has sent all of it before it listens."""
    status, error, headers = plane.ask("POST", INFER, bytes(100 << 20))
    assert (status, headers["connection"]) == (413, "close")
    assert "at most 16777216 are read" in error["error"]


def test_whoever_asks_before_sending_is_told_before_sending(plane):
    head = f"POST {INFER} HTTP/1.1\r\nHost: {plane.http}\r\nExpect: 100-continue\r\n"
    with open_socket(plane) as connection:
        connection.sendall(f"{head}Content-Length: {100 << 20}\r\n\r\n".encode())
        assert read_answer(connection)[0] == 413
    body = json.dumps(good()).encode()
    with open_socket(plane) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /%ff\xff HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_so_in_an_object(plane, sent):
    with open_socket(plane) as connection:
        connection.sendall(sent)
        status, error = read_answer(connection)
    assert (status, "HTTP/1.1" in error["error"]) == (400, True)


def test_headers_without_an_end(plane):
    with open_socket(plane) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"X-More: " + b"x" * 1000 + b"\r\n")
            status, error = read_answer(connection)
            assert (status, "longer than 65536" in error["error"]) == (431, True)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was still sending when it was refused


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        (b"GET /v2 HT", 408, "headers did not arrive"),
        (b"GET /v2 HTTP/1.1\r\nHost: 127.0.0.1\r\n", 408, "headers did not arrive"),
        (
            b"POST /v2/models/sums/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{",
            408,
            "body did not arrive",
        ),
    ],
)
def test_slow_senders(hasty_plane, sent, status, says):
    with open_socket(hasty_plane) as connection:
        connection.sendall(sent)
        found, error = read_answer(connection)
    assert (found, says in error["error"]) == (status, True)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    said = b""
    while not said.endswith(end) and (part := connection.recv(65536)):
        said += part
    return said


def test_requests_sent_before_the_answers_are_answered_in_their_order(plane):
    """Right, wrong, without a body, right: and the last one as an end."""

    def sent(body: bytes, *more: str) -> bytes:
        head = [f"POST {INFER} HTTP/1.1", f"Host: {plane.http}", f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, *more, "", ""]).encode() + body

    asked = [sent(json.dumps(good(value)).encode()) for value in range(20)]
    asked[10:10] = [sent(b"{"), f"HEAD /v2 HTTP/1.1\r\nHost: {plane.http}\r\n\r\n".encode()]
    asked.append(sent(json.dumps(good(97)).encode(), "Connection: close"))
    with open_socket(plane) as connection:
        connection.sendall(b"".join(asked))
        said = b""
        while part := connection.recv(65536):
            said += part
    heads, sums, rest = [], [], said
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        heads.append(head)
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body, rest = (b"", rest) if len(heads) == 12 else (rest[:length], rest[length:])
        if b'"data"' in body:
            sums.append(json.loads(body)["outputs"][0]["data"][0])
    assert [int(head.split()[1]) for head in heads] == [*[200] * 10, 400, *[200] * 12]
    assert sums == [*(value + 2.0 for value in range(20)), 99.0]
    assert all(head.count(b"\r\ndate: ") == 1 for head in heads)
    assert [b"connection: close" in head for head in heads] == [*[False] * 22, True]


def test_who_speaks_the_older_http_is_let_go_with_the_answer(plane):
    body = json.dumps(good()).encode()
    head = f"POST {INFER} HTTP/1.0\r\nHost: {plane.http}\r\nContent-Length: {len(body)}\r\n\r\n"
    with open_socket(plane) as connection:
        connection.sendall(head.encode() + body)
        assert read_answer(connection)[0] == 200


def test_who_says_nothing_is_let_go(hasty_plane):
    with open_socket(hasty_plane) as connection:
        assert connection.recv(1) == b""
    with open_socket(hasty_plane) as connection:
        connection.sendall(f"GET /v2 HTTP/1.1\r\nHost: {hasty_plane.http}\r\n\r\n\r\n".encode())
        answered = read_until(connection, b"}")  # header and body may come apart
        assert answered.startswith(b"HTTP/1.1 200")
        connection.sendall(b"\r\n")  # neither a request nor silence
        assert b" 408 " in read_until(connection, b"\r\n")


def test_who_does_not_take_the_answer_is_let_go(hasty_plane):
    rows = 60_000
    text = json.dumps(good_rows(rows)).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: {hasty_plane.http}\r\nContent-Length: {len(text)}\r\n"
    with open_socket(hasty_plane) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:  # one request after another, and not one answer read
                connection.sendall(f"{head}\r\n".encode() + text)


def good_rows(rows):
    data = [0.123456789012345] * rows
    return {
        "inputs": [
            {"name": name, "shape": [rows], "datatype": "FP64", "data": data} for name in "ab"
        ]
    }


def test_deadlines_and_who_goes_away(plane, until):
    """While the model is busy: a late answer is no answer, and who went leaves the queue."""
    gate = plane.root / "gates" / "busy"
    gate.touch()

    def slow(path=""):
        one = {"name": "path", "shape": [1], "datatype": "BYTES", "data": [str(path)]}
        return {"inputs": [one]}

    answers = []
    where = "/v2/models/slow/infer"
    busy = threading.Thread(
        target=lambda: answers.append(plane.ask("POST", where, slow(gate))), daemon=True
    )
    busy.start()
    until(Path(f"{gate}.reached").exists)
    hurried = {**slow(), "parameters": {"timeout": 50_000}}
    status, error, headers = plane.ask("POST", where, hurried)
    assert (status, headers["retry-after"]) == (504, "1")
    assert "within 0.05 s" in error["error"]
    status, error, _ = plane.ask("POST", where, slow(), Request_Timeout="0.05")
    assert status == 504
    assert plane.ask("POST", where, slow(), Request_Timeout="-1")[0] == 400
    gone = plane.root / "gates" / "gone"
    text = json.dumps(slow(gone)).encode()
    with open_socket(plane) as connection:
        head = f"POST {where} HTTP/1.1\r\nHost: {plane.http}\r\nContent-Length: {len(text)}\r\n\r\n"
        connection.sendall(head.encode() + text)
    counted = 'endpoint="slow",status="499"} 1'
    until(lambda: counted in plane.ask("GET", "/metrics")[1].decode())
    gate.unlink()
    busy.join()
    assert answers[0][0] == 200
    assert plane.ask("POST", where, slow())[0] == 200
    assert not Path(f"{gone}.reached").exists()  # nobody waited: the model never saw it


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (b'"row":-1', "row is"),
        (b'"row":2147483648', "row is"),
        (b'"row":1180591620717411303424', "row is"),
        (b'"at":"0001-01-01T00:00:00+14:00"', "at is"),
        (b'"at":"9999-12-31T23:59:59-14:00"', "at is"),
        (b'"truth":1e999', "its truth cannot be read"),
        (b'"truth":' + DEEP, "cannot be read"),
        (b'"truth":"\xff"', "cannot be read"),
        (b'"\xff":1', "cannot be read"),
    ],
)
def test_feedback_that_no_row_can_hold_is_refused_before_it_is_written(plane, item, says):
    """And is not asked for again."""
    body = b'{"id":"mine","truth":1,%b}' % item
    status, error, _ = plane.ask("POST", "/v2/feedback", body)
    assert (status, says in error["error"]) == (400, True)
    assert plane.ask("GET", "/snapshots/production?wait_s=nan")[0] == 200


def test_other_sites_and_other_names_are_refused(plane):
    assert plane.ask("POST", INFER, good(), Origin="http://evil.example")[0] == 403
    assert plane.ask("POST", INFER, good(), Host="evil.example")[0] == 403
    for path in ("/v2/repository/models/sums/unload", "/v2/models/sums/predict"):
        assert plane.ask("POST", path, b"[]", Origin="http://evil.example")[0] == 403
