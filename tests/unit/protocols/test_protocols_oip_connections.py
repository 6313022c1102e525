"""One connection without a network: what is written to it, and what a request leaves behind."""

from __future__ import annotations

import asyncio
import gc

import uvicorn
from uvicorn.server import ServerState

from seamline.protocols.oip_connections import Connection
from seamline.protocols.oip_http import Reply, read_body, send_reply
from seamline.protocols.oip_http import Request as Asked

ASKED = b"POST /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return False

    def resume_reading(self):
        pass


async def answer(scope, receive, send):
    headers = dict(scope["headers"])
    body = await read_body(Asked("POST", headers, receive, "production", ()))
    await send_reply(scope, send, Reply(200, body * 2, headers=((b"x-one", b"1"),)), headers)


def connect():
    config = uvicorn.Config(answer, lifespan="off", log_config=None, ws="none")
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    connection = Connection(config, state, {})
    connection.connection_made(Wire())
    return connection, connection.transport.written


async def ask(connection, times=1):
    for _ in range(times):
        connection.data_received(ASKED)
        while not connection.cycle.response_complete:
            await asyncio.sleep(0)
    await asyncio.sleep(0)  # the request's task ends


def test_an_answer_is_written_in_one_piece():
    async def run():
        connection, written = connect()
        await ask(connection)
        connection.flow.pause_writing()  # somebody takes nothing: it waits, by ASGI's messages
        connection.data_received(ASKED)
        for _ in range(5):
            await asyncio.sleep(0)
        waited = len(written)
        connection.flow.resume_writing()
        while not connection.cycle.response_complete:
            await asyncio.sleep(0)
        return waited, written

    waited, (first, *second) = asyncio.run(run())
    head, _, body = first.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert sorted(lines[1:]) == [
        b"content-length: 4", b"content-type: application/json", b"date: today", b"x-one: 1",
    ]  # fmt: skip
    assert (body, waited) == (b"{}{}", 1)
    assert sorted(b"".join(second).split(b"\r\n")) == sorted(first.split(b"\r\n"))


def test_a_request_leaves_no_garbage():
    async def run():
        connection, _ = connect()
        await ask(connection)
        gc.collect()
        gc.disable()
        try:
            await ask(connection, 50)
            return gc.collect()
        finally:
            gc.enable()

    assert asyncio.run(run()) < 50
