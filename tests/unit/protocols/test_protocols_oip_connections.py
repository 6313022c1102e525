"""One connection without a network: which way a request is answered, what is written, and what is
left behind."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import re

import pytest
import uvicorn
from uvicorn.server import ServerState

from seamline.domain.errors import Unavailable
from seamline.protocols import oip_connections
from seamline.protocols.oip_connections import Connection
from seamline.protocols.oip_http import Reply, error_reply, read_body, send_reply
from seamline.protocols.oip_http import Request as Asked

PATH = "/v2/models/m/infer"
ASKED = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


class Wire(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written, self.is_closed, self.is_lost = [], False, False

    def write(self, data):
        if self.is_lost:  # uvloop's do, then
            raise RuntimeError("the handler is closed")
        self.written.append(data)

    def close(self):
        self.is_closed = True

    def is_closing(self):
        return self.is_closed

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass


class Server:
    """Says of each request by which way it came, and its body; `gate`: what is waited for first."""

    def __init__(self):
        self.gate = None
        self.ways = []
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]

    async def by_asgi(self, scope, receive, send):
        headers = dict(scope["headers"])
        self.ways.append("asgi")
        watch = scope["extensions"]["seamline.watch"]
        reply = await self.reply(scope["path"], headers, receive, watch)
        await send_reply(send, scope["method"], reply, headers.get(b"accept-encoding", b""))

    async def quickly(self, method, path, headers, body, watch):
        assert method == "POST"
        self.ways.append("quick")
        return await self.reply(path, headers, body, watch)

    async def reply(self, path, headers, body, watch):
        gate = self.gate
        try:
            text = await read_body(Asked("POST", headers, body, "production", ()))
            if gate is not None:
                watch(lambda: gate.done() or gate.set_exception(Unavailable("gone")))
                await gate
        except Unavailable as error:
            return error_reply(error)
        finally:
            watch(None)
        more = ((b"connection", b"close"),) if text == b"!!" else ((b"x-one", b"1"),)
        return Reply(200, text * 2, headers=more)

    def connect(self, path=""):
        config = uvicorn.Config(
            self.by_asgi, interface="asgi3", proxy_headers=False, lifespan="off", ws="none",
            log_config=None, root_path=path,
        )  # fmt: skip
        connection = Connection(config, self.state, {}, answer=self.quickly)
        connection.connection_made(Wire())
        return connection, connection.transport


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def ask(connection, data=ASKED, times=1):
    for _ in range(times):
        connection.data_received(data)
        await settle()


def sent(*headers, method="POST", path=PATH, version="1.1", body=b"{}", length=None):
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *headers]
    if length != "none":
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def parts(answer):
    """(first line, sorted headers, body)"""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    return lines[0], sorted(lines[1:]), body


def test_both_ways_say_the_same_and_the_quick_one_in_one_piece():
    async def run():
        server = Server()
        connection, wire = server.connect()
        await ask(connection)
        connection.flow.pause_writing()  # somebody takes nothing: it waits, by ASGI's messages
        connection.data_received(ASKED)
        await settle()
        waited = len(wire.written)
        connection.flow.resume_writing()
        await settle()
        return server.ways, waited, wire.written

    ways, waited, (first, *second) = asyncio.run(run())
    assert (ways, waited) == (["quick", "asgi"], 1)
    assert parts(first) == (
        b"HTTP/1.1 200 OK",
        [b"content-length: 4", b"content-type: application/json", b"date: today", b"x-one: 1"],
        b"{}{}",
    )
    assert parts(b"".join(second)) == parts(first)


@pytest.mark.parametrize(
    ("data", "way"),
    [
        (ASKED, "quick"),
        (sent(path="/staging/v2/models/m/versions/1.0/predict"), "quick"),
        (sent(body=b"x" * 65536), "quick"),
        (sent(body=b""), "quick"),
        (sent(body=b"x" * 65537), "asgi"),
        (sent(length="none", body=b""), "asgi"),
        (sent("Transfer-Encoding: chunked", length="none", body=b"2\r\n{}\r\n0\r\n\r\n"), "asgi"),
        (sent("Connection: close"), "asgi"),
        (sent("Expect: 100-continue"), "asgi"),
        (sent("Connection: upgrade", "Upgrade: h2c"), "quick"),
        (sent("Connection: Upgrade, close", "Upgrade: h2c"), "asgi"),
        (sent(version="1.0"), "asgi"),
        (sent(method="PUT"), "asgi"),
        (sent(path=f"{PATH}?a=1"), "asgi"),
        (sent(path="/v2/models/%6d/infer"), "asgi"),
        (sent(path="/v2/feedback"), "asgi"),
        (sent(path="/v2/models/m/load"), "asgi"),
    ],
)
def test_only_what_is_plain_goes_the_quick_way(data, way):
    async def run():
        server = Server()
        connection, wire = server.connect()
        await ask(connection, data)
        return server.ways, b"".join(wire.written)

    ways, answer = asyncio.run(run())
    assert ways == [way]
    assert answer.count(b" 200 OK\r\n") == 1


def test_a_body_may_come_in_pieces_and_one_that_is_late_comes_by_asgi(monkeypatch):
    async def run(rest_s):
        monkeypatch.setattr(oip_connections, "REST_S", rest_s)
        server = Server()
        connection, wire = server.connect()
        head, body = ASKED[:-2], ASKED[-2:]
        for piece in (head, body[:1]):
            connection.data_received(piece)
        while not rest_s and not server.ways:
            await asyncio.sleep(0.001)
        await settle()
        before = list(server.ways)
        connection.data_received(body[1:])
        await settle()
        return before, server.ways, parts(b"".join(wire.written)), connection._rest_timer

    soon, late = asyncio.run(run(60.0)), asyncio.run(run(0.0))
    assert soon[:2] == ([], ["quick"])
    assert late[:2] == (["asgi"], ["asgi"])
    assert soon[2] == late[2]
    assert soon[3] is None
    assert late[3] is None


UPGRADES = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    ("Connection: upgrade", "Upgrade: websocket"),
)


@pytest.mark.parametrize("headers", UPGRADES)
@pytest.mark.parametrize("at", [40, 150, -1, None])
def test_who_asks_for_another_protocol_is_answered_in_this_one(headers, at):
    """With its body, wherever that is cut, and so are the requests behind it."""

    async def run():
        server = Server()
        connection, wire = server.connect()
        first, get = sent(*headers, body=b"a" * 20), sent(method="GET", length="none", body=b"")
        chunked = ("Transfer-Encoding: chunked", *headers)
        third = sent(*chunked, length="none", body=b"2\r\nbb\r\n0\r\n\r\n")
        last = sent(body=b"cc")
        connection.data_received(first[:at])
        await settle()
        if at is not None:
            connection.data_received(first[at:])
        await settle()
        connection.data_received(get.replace(b"Host", b"Connection: upgrade\r\nUpgrade: x\r\nHost"))
        await settle()
        connection.data_received(third + last)
        await settle()
        return b"".join(wire.written), wire.is_closed

    said, is_closed = asyncio.run(run())
    assert said.count(b" 200 OK\r\n") == 4
    assert said.index(b"a" * 40) < said.index(b"bbbb") < said.index(b"cccc")
    assert not is_closed


def test_a_tunnel_is_refused():
    async def run():
        connection, wire = Server().connect()
        connection.data_received(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
        return b"".join(wire.written), wire.is_closed

    said, is_closed = asyncio.run(run())
    assert (said.startswith(b"HTTP/1.1 400 "), is_closed) == (True, True)


@pytest.mark.parametrize("way", ["quick", "asgi"])
def test_what_came_whole_is_answered_before_the_connection_ends(way):
    """Behind it comes what is no request: of a client that left out the length of its body."""

    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received((ASKED if way == "quick" else sent(path=f"{PATH}?a")) + b"{}\r\n")
        connection.data_received(b"more")
        await settle()
        before = list(wire.written), wire.is_closed, connection._header_timer
        server.gate.set_result(None)
        await settle()
        return before, server.ways, b"".join(wire.written), wire.is_closed

    before, ways, said, is_closed = asyncio.run(run())
    assert (before, ways, is_closed) == (([], False, None), [way], True)
    assert parts(said)[0] == b"HTTP/1.1 200 OK"
    assert b"connection: close" in parts(said)[1]


def test_a_body_that_breaks_off_is_told_so():
    async def run():
        server = Server()
        connection, wire = server.connect()
        broken = sent("Transfer-Encoding: chunked", length="none", body=b"2\r\n{}\r\nzz\r\n")
        connection.data_received(broken)
        await settle()
        return b"".join(wire.written), wire.is_closed, len(server.state.tasks)

    said, is_closed, tasks = asyncio.run(run())
    assert (said.startswith(b"HTTP/1.1 400 "), said.count(b"HTTP/1.1")) == (True, 2)
    assert (is_closed, tasks) == (True, 0)


BROKEN = sent("Transfer-Encoding: chunked", length="none", body=b"2\r\n{}\r\nzz\r\n")


@pytest.mark.parametrize("first", [ASKED, sent(path=f"{PATH}?a")], ids=["quick", "asgi"])
def test_what_waits_before_a_body_that_breaks_off_is_answered(first):
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received(first + sent(body=b"bb") + BROKEN)
        await settle()
        connection.data_received(b"more")
        before = len(wire.written)
        server.gate.set_result(None)
        await settle()
        return before, b"".join(wire.written), wire.is_closed, len(server.state.tasks)

    before, said, is_closed, tasks = asyncio.run(run())
    assert (before, said.count(b" 200 OK\r\n"), said.count(b"HTTP/1.1")) == (0, 2, 2)
    assert said.index(b"{}{}") < said.index(b"connection: close") < said.index(b"bbbb")
    assert (is_closed, tasks) == (True, 0)


@pytest.mark.parametrize("first", [ASKED, sent(path=f"{PATH}?a")], ids=["quick", "asgi"])
def test_who_goes_takes_along_all_that_was_asked_at_once(first):
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received(first + ASKED + ASKED)
        await settle()
        connection.connection_lost(None)
        await settle()
        return wire.written, len(server.state.tasks), server.ways

    written, tasks, ways = asyncio.run(run())
    assert (written, tasks, len(ways)) == ([], 0, 1)


def test_requests_sent_at_once_are_answered_in_their_order():
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        bodies = [b"%02d" % number for number in range(4)]
        connection.data_received(b"".join(sent(body=body) for body in bodies))
        await settle()
        before = len(wire.written)
        server.gate.set_result(None)
        await settle()
        await ask(connection)
        return before, server.ways, b"".join(wire.written)

    before, ways, said = asyncio.run(run())
    assert before == 0
    assert ways == ["quick", "asgi", "asgi", "asgi", "quick"]
    places = [said.index(body * 2) for body in (b"00", b"01", b"02", b"03", b"{}")]
    assert places == sorted(places)


def test_who_goes_is_noticed_and_nothing_is_written_or_left():
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received(ASKED)
        working = len(server.state.tasks)
        connection.connection_lost(None)
        await settle()
        half, _ = server.connect()
        half.data_received(ASKED[:-1])  # as by ASGI: a request that never came whole
        half.connection_lost(ConnectionResetError())
        await settle()
        told = server.gate.exception()
        left = len(server.state.tasks), len(server.state.connections)
        return working, told, wire.written, left, server.ways

    working, told, written, left, ways = asyncio.run(run())
    assert (working, left, written) == (1, (0, 0), [])
    assert str(told).startswith("gone")
    assert ways == ["quick", "asgi"]


@pytest.mark.parametrize("gathered", [False, True])
def test_a_server_that_stops_answers_what_is_in_work_and_closes(gathered):
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received(ASKED[:-1] if gathered else ASKED)
        connection.shutdown()
        assert not wire.is_closed
        assert len(server.state.tasks) == 1
        if gathered:
            connection.data_received(ASKED[-1:])
        server.gate.set_result(None)
        await settle()
        return wire, len(server.state.tasks)

    wire, tasks = asyncio.run(run())
    assert (wire.is_closed, tasks) == (True, 0)
    line, headers, body = parts(b"".join(wire.written))
    assert (line, body) == (b"HTTP/1.1 200 OK", b"{}{}")
    assert headers.count(b"connection: close") == 1


def test_what_is_not_done_when_the_server_has_waited_long_enough_is_told_so():
    async def run():
        server = Server()
        server.gate = asyncio.get_running_loop().create_future()
        connection, wire = server.connect()
        connection.data_received(ASKED)
        connection.shutdown()
        for task in list(server.state.tasks):
            task.cancel(msg="long enough")
        await settle()
        return wire, len(server.state.tasks)

    wire, tasks = asyncio.run(run())
    line, headers, body = parts(b"".join(wire.written))
    assert line.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in headers
    assert b"retry-after: 1" in headers
    assert b"stopped while it worked" in body
    assert (wire.is_closed, tasks) == (True, 0)


def test_an_answer_that_ends_the_connection_ends_it():
    async def run():
        server = Server()
        connection, wire = server.connect()
        await ask(connection, sent(body=b"!!"))
        return server.ways, wire

    ways, wire = asyncio.run(run())
    assert (ways, wire.is_closed) == (["quick"], True)
    assert parts(wire.written[0])[1].count(b"connection: close") == 1


def test_below_another_path_all_goes_by_asgi():
    async def run():
        server = Server()
        connection, _ = server.connect("/below")
        await ask(connection)
        return server.ways

    assert asyncio.run(run()) == ["asgi"]


def test_a_request_leaves_no_garbage():
    async def run():
        server = Server()
        connection, _ = server.connect()
        await ask(connection)
        gc.collect()
        gc.disable()
        try:
            await ask(connection, times=50)
            assert set(server.ways) == {"quick"}
            of_requests = gc.collect()
            for _ in range(50):
                passing, _ = server.connect()
                await ask(passing)
                passing.connection_lost(None)
            del passing
            await settle()
            gone = [item for item in gc.get_objects() if isinstance(item, Connection)]
            return of_requests, len(gone)
        finally:
            gc.enable()

    of_requests, connections = asyncio.run(run())
    assert of_requests < 50
    assert connections == 1


SEEDS = (
    ASKED,
    sent(path=f"{PATH}?a"),
    sent("Connection: Upgrade", "Upgrade: h2c"),
    sent("Expect: 100-continue"),
    sent("Transfer-Encoding: chunked", length="none", body=b"2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n"),
    sent(method="GET", path="/v2", length="none", body=b""),
)
PIECES = (b"\r\n", b"\0", b":", b" ", b"0", b"Connection: close\r\n", b"Upgrade: x\r\n", b"\xff")


def spoil(data, chance):
    """With up to three bytes changed, left out or put in."""
    spoiled = bytearray(data)
    for _ in range(chance.choice((0, 0, 1, 3))):
        at = chance.randrange(len(spoiled))
        match chance.randrange(3):
            case 0:
                spoiled[at] = chance.randrange(256)
            case 1:
                del spoiled[at : at + chance.randrange(1, 9)]
            case _:
                spoiled[at:at] = chance.choice(PIECES)
    return bytes(spoiled)


def test_whatever_comes_is_answered_or_refused_and_leaves_nothing(caplog):
    """Requests with bytes wrong, several at once, cut anywhere, until the client goes."""

    async def run(chance):
        server = Server()
        connection, wire = server.connect()
        data = b"".join(spoil(chance.choice(SEEDS), chance) for _ in range(chance.randrange(1, 4)))
        cuts = sorted(chance.randrange(len(data)) for _ in range(chance.randrange(3)))
        for start, end in itertools.pairwise([0, *cuts, len(data)]):
            if not wire.is_closed:
                connection.data_received(data[start:end])
            if chance.random() < 0.5:
                await settle()
        wire.is_lost = True
        connection.connection_lost(None)
        await settle()
        return data, b"".join(wire.written), len(server.state.tasks)

    for seed in range(400):
        data, said, tasks = asyncio.run(run(random.Random(seed)))
        answers = re.findall(rb"HTTP/1.1 (\d+)", said)
        assert set(answers) <= {b"100", b"200", b"400"}, (seed, data, said)
        assert tasks == 0, (seed, data)
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


class OwnTime:
    """What a connection asks of its loop, at a time that a test moves."""

    def __init__(self):
        self.now_s, self.due = 0.0, []

    def time(self):
        return self.now_s

    def call_later(self, after_s, call):
        timer = Timer(self.now_s + after_s, call)
        self.due.append(timer)
        return timer

    def move(self, to_s):
        for timer in [one for one in self.due if one.at_s <= to_s]:
            self.due.remove(timer)
            self.now_s = timer.at_s
            if not timer.is_cancelled:
                timer.call()
        self.now_s = to_s


class Timer:
    def __init__(self, at_s, call):
        self.at_s, self.call, self.is_cancelled = at_s, call, False

    def cancel(self):
        self.is_cancelled = True


@pytest.mark.parametrize("way", ["quick", "asgi"])
def test_an_idle_connection_is_let_go_of_by_one_timer(way):
    async def run():
        server = Server()
        connection, wire = server.connect()
        own = OwnTime()
        connection.loop = own
        data = ASKED if way == "quick" else sent(version="1.1", method="GET", path="/v2")
        for second in range(4):
            own.move(second)
            await ask_in(own, connection, data)
        assert (set(server.ways), len(own.due)) == ({way}, 1)
        server.gate = asyncio.get_running_loop().create_future()
        own.move(6)
        await ask_in(own, connection, data)
        own.move(60)  # whoever waits for an answer is not idle
        assert not wire.is_closed
        server.gate.set_result(None)
        server.gate = None
        await settle()
        own.move(64.9)
        assert not wire.is_closed
        own.move(65)
        assert wire.is_closed
        connection.connection_lost(None)
        assert all(timer.is_cancelled for timer in own.due)

    async def ask_in(own, connection, data):
        """Its application's task is of the loop that runs."""
        loop = asyncio.get_running_loop()
        own.create_task = loop.create_task
        await ask(connection, data)

    asyncio.run(run())
