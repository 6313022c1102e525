"""`--workers 2`: stock clients over HTTP and gRPC see one server, and both processes answer."""

from __future__ import annotations

import re

import numpy as np
import tritonclient.grpc
import tritonclient.http

#: A client of its own connection: gRPC would share one between all of a process.
ALONE = [("grpc.use_local_subchannel_pool", 1)]


def sums(kind):
    made = []
    for name, value in (("a", 1.5), ("b", 2.0)):
        made.append(kind.InferInput(name, [1], "FP64"))
        made[-1].set_data_from_numpy(np.array([value]))
    return made


def by_process(plane):
    text = plane.ask("GET", "/metrics")[1].decode()
    found = re.findall(r'^seamline_plane_requests_total\{plane="(\d)"\} (\d+)$', text, re.M)
    return {number: int(count) for number, count in found}


def spread(plane, ask):
    """Asks over one connection after another until each process has answered some."""
    before, asked = by_process(plane), 0
    while True:
        for _ in range(4):
            ask()
        asked += 4
        now = by_process(plane)
        counts = [now[number] - before[number] for number in now]
        assert sum(counts) == asked
        if min(counts) > 0:
            return
        assert asked < 20_000  # one may be given no processor for a while


def test_http_is_answered_by_both(wide_plane):
    def ask():
        client = tritonclient.http.InferenceServerClient(wide_plane.http)
        assert client.is_server_ready()
        assert client.infer("sums", sums(tritonclient.http)).as_numpy("sum").tolist() == [3.5]
        client.close()

    spread(wide_plane, ask)


def test_grpc_is_answered_by_both(wide_plane):
    def ask():
        client = tritonclient.grpc.InferenceServerClient(wide_plane.grpc, channel_args=ALONE)
        assert client.is_server_ready()
        assert client.infer("sums", sums(tritonclient.grpc)).as_numpy("sum").tolist() == [3.5]
        client.close()

    spread(wide_plane, ask)


def test_the_repository_is_that_of_both(wide_plane):
    client = tritonclient.grpc.InferenceServerClient(wide_plane.grpc, channel_args=ALONE)
    client.unload_model("sums")
    client.load_model("sums")
    client.close()
    for _ in range(12):
        again = tritonclient.http.InferenceServerClient(wide_plane.http)
        states = {one["name"]: one["state"] for one in again.get_model_repository_index()}
        assert states == {"echo": "READY", "sums": "READY", "slow": "READY"}
        again.close()
