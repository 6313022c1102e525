"""A receiver on a port of its own, that does what a test tells it; hooks that point to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from seamline.domain.trust_facts import TeamAdded
from seamline.hooks.declaration import HookDeclaration
from seamline.hooks.deliveries import record_hooks
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.store.stores import Stores
from seamline.trust.secrets import SecretKind, set_values

KEY = base64.b64encode(b"k" * 32)


@dataclass(frozen=True)
class Told:
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def subject(self) -> str:
        return str(json.loads(self.body)["data"]["subject"])

    def is_signed(self, key: bytes = b"k" * 32) -> bool:
        """As the Standard Webhooks' specification says it, and by none of our own code."""
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return f"v1,{wanted}" in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """`answers`: one for each request, then 204 for ever. A number is a status; a text is written
    as it stands; an event is waited for, and then there is no answer at all."""

    url: str = ""
    told: list[Told] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    came: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int) -> list[Told]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.told) >= count, 120), len(self.told)
            return list(self.told)


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            headers = {name.lower(): text for name, text in self.headers.items()}
            with receiver.came:
                receiver.told.append(Told(headers, body))
                answer = receiver.answers.pop(0) if receiver.answers else 204
                receiver.came.notify_all()
            if isinstance(answer, threading.Event):
                answer.wait(60)
                self.close_connection = True
            elif isinstance(answer, int):
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                answer(self)

        def do_GET(self) -> None:
            """As what follows a redirection would ask."""
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A sender that has gone is part of the tests."""

    server = Server(("127.0.0.1", port), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def start_receiver() -> Callable[..., Any]:
    return receiving


@pytest.fixture
def hooked(stores: Stores) -> Callable[..., HookDeclaration]:
    """hooked(url, name=, events=, timeout=) declares a hook, with a secret that signs."""
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, DEFAULT_POLICIES, by="root")
    set_values(
        stores, "production", SecretKind.SECRET, "ci", {"signing": b"whsec_" + KEY}, by="root"
    )

    def declare(
        url: str,
        name: str = "ci",
        events: tuple[str, ...] = ("team.*",),
        timeout: str = "60s",
        before: HookDeclaration | None = None,
    ) -> HookDeclaration:
        made = HookDeclaration(name, url, events, "production/ci", timeout)
        with stores.db.transaction() as tx:
            record_hooks(tx, {name: before} if before else {}, {name: made})
        return made

    return declare


@pytest.fixture
def tell(stores: Stores) -> Callable[..., list[str]]:
    """tell("a", "b") → the ids of two facts, team.added."""

    def append(*teams: str) -> list[str]:
        with stores.db.transaction() as tx:
            return [stores.facts.append(tx, TeamAdded(team), by="zoë") for team in teams]

    return append
