"""kill -9 of the server while a wheel is uploaded: wholly visible or not at all, and nothing left.

A seeded sample; `--soak` plays the full counts. A failure names the round and the moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.waiting import wait_until

from seamline.register.packages.wheel_pack import WHEEL_FILE, pack_wheel

SEED = 20260401
NAME = "chaos-tools"
SIZE = 6 << 20
BOUNDARY = "b0undary"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@dataclass(frozen=True)
class Wheel:
    version: str
    data: bytes

    @property
    def filename(self) -> str:
        return f"chaos_tools-{self.version}-py3-none-any.whl"

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.data).hexdigest()

    @property
    def body(self) -> bytes:
        """The upload as twine sends it."""
        said = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
        action = said.format(":action", "").encode() + b"file_upload\r\n"
        content = said.format("content", f'; filename="{self.filename}"').encode()
        dashes = f"--{BOUNDARY}".encode()
        head = dashes + b"\r\n" + action + dashes + b"\r\n" + content
        return head + self.data + b"\r\n" + dashes + b"--\r\n"


def make_wheel(number: int, size: int = SIZE) -> Wheel:
    """Another version with bytes of its own, the same in each run of a test."""
    version, info = f"1.{number}", f"chaos_tools-1.{number}.dist-info"
    about = f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n"
    files = {
        "chaos_tools.bin": random.Random(f"{SEED} {number}").randbytes(size),
        f"{info}/METADATA": about.encode(),
        f"{info}/WHEEL": WHEEL_FILE.encode(),
    }
    return Wheel(version, pack_wheel(files, info))


@contextlib.contextmanager
def uploading(house: Any, body: bytes) -> Iterator[socket.socket]:
    """The head of the request is sent; its body is the caller's to send."""
    parts = urlsplit(house.address["url"])
    head = (
        f"POST /pypi/dataops/upload/ HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=60) as connection:
        connection.sendall(head.encode())
        yield connection


def upload(house: Any, wheel: Wheel) -> int:
    """The status, once the server has answered."""
    with uploading(house, wheel.body) as connection:
        connection.sendall(wheel.body)
        return int(connection.makefile("rb").readline().split()[1])


def measure_end(house: Any, wheel: Wheel) -> float:
    """How long this machine takes, in seconds, from the last byte to the answer."""
    with uploading(house, wheel.body) as connection:
        connection.sendall(wheel.body[:-1])
        began = time.monotonic()
        connection.sendall(wheel.body[-1:])
        assert b" 200 " in connection.makefile("rb").readline()
        return time.monotonic() - began


def kill_now(house: Any) -> None:
    """At this instruction; `house.kill` looks first who else is there."""
    os.kill(house.address["identity"]["pid"], signal.SIGKILL)


def restart(house: Any, moment: str) -> None:
    house.kill()
    house.up()
    assert house.ask("/audit/verify")["broken"] is None, moment


def read(house: Any, path: str, headers: dict[str, str] | None = None) -> bytes:
    request = urllib.request.Request(house.address["url"] + path, headers=headers or {})
    with urllib.request.urlopen(request, timeout=60) as response:
        return bytes(response.read())


def listed(house: Any) -> dict[str, dict[str, Any]]:
    """File name → what the index says of it."""
    page = json.loads(read(house, f"/pypi/dataops/simple/{NAME}/", JSON))
    return {one["filename"]: one for one in page["files"]}


def is_visible(house: Any, wheel: Wheel, moment: str) -> bool:
    """Wholly, or not at all: the page, the file, its metadata, the fact, and the statement."""
    found = listed(house).get(wheel.filename)
    facts = [one["body"]["filename"] for one in house.facts("package.published")]
    assert facts.count(wheel.filename) == (found is not None), moment
    if found is None:
        return False
    path = f"/pypi/dataops/files/{wheel.digest.removeprefix('sha256:')}/{wheel.filename}"
    assert hashlib.sha256(read(house, path)).hexdigest() in wheel.digest, moment
    metadata = read(house, f"{path}.metadata")
    assert f"Version: {wheel.version}\n".encode() in metadata, moment
    assert found["hashes"]["sha256"] in wheel.digest
    proof = house.ask(f"/artifacts?reference={NAME}=={wheel.version}")
    assert [one["digest"] for one in proof] == [wheel.digest], moment
    assert all(one["proof"]["statements"] for one in proof), moment
    return True


def left_over(house: Any) -> list[str]:
    """Files that are of no use: what was received, what was half written, and what is large and
    lies outside of all folders."""
    useless = ["-path", "*/incoming/*", "-o", "-name", "*partial*", "-o", "-name", "*#*"]
    large = ["-path", f"{house.workspace}/*", "!", "-path", f"{house.workspace}/*/*"]
    large += ["!", "-name", "seamline.db*", "-size", f"+{SIZE >> 10}k"]
    which = ["(", *useless, "-o", *large, ")"]
    command = ["find", house.workspace, "-type", "f", *which]
    # It says what has gone while it looked, and goes on.
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


@pytest.fixture(scope="module")
def shop(build_house: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    made = build_house(tmp_path_factory.mktemp("shop"))
    try:
        made.up()
        # The name is ours from now on: to ask for it leads nowhere else.
        assert upload(made, make_wheel(0, 1 << 10)) == 200
        yield made
    finally:
        made.down()


@pytest.fixture
def drawn(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(f"{SEED} {request.node.originalname}")


def check_round(house: Any, wheel: Wheel, moment: str) -> bool:
    """After the restart; then the same upload succeeds, whatever the first one came to."""
    wait_until(lambda: left_over(house) == [], what=moment)
    was_visible = is_visible(house, wheel, moment)
    assert upload(house, wheel) == 200, moment
    assert is_visible(house, wheel, moment)
    wait_until(lambda: left_over(house) == [], what=moment)
    return was_visible


def test_killed_at_any_byte(shop: Any, drawn: random.Random, soak: bool) -> None:
    """Of what has not wholly arrived nothing is ever to be seen."""
    for number in range(1, 61 if soak else 4):
        wheel = make_wheel(number)
        cut = drawn.randrange(len(wheel.body))
        moment = f"round {number}, killed after {cut} of {len(wheel.body)} bytes"
        with uploading(shop, wheel.body) as connection:
            connection.sendall(wheel.body[:cut])
            kill_now(shop)
        restart(shop, moment)
        assert check_round(shop, wheel, moment) is False, moment


def test_killed_around_the_commit(shop: Any, drawn: random.Random, soak: bool) -> None:
    """The last bytes are there: checked, hashed, moved, written down, committed, answered."""
    seen, takes_s = [], measure_end(shop, make_wheel(999))
    for number in range(1000, 1060 if soak else 1005):
        wheel = make_wheel(number)
        after_s = drawn.uniform(0, 1.2 * takes_s)
        moment = f"round {number}, killed {after_s} s after the last byte"
        with uploading(shop, wheel.body) as connection:
            connection.sendall(wheel.body[:-1])
            # The moment itself is what is drawn here: there is no event to wait for.
            killer = threading.Timer(after_s, kill_now, [shop])
            killer.start()
            answer = b""
            with contextlib.suppress(OSError):
                connection.sendall(wheel.body[-1:])
                answer = connection.makefile("rb").readline()
            killer.join()
        restart(shop, moment)
        seen.append(check_round(shop, wheel, moment))
        assert seen[-1] or b" 200 " not in answer, f"{moment}: what was answered is lost"
    print(f"visible after the restart: {sum(seen)} of {len(seen)}")


def test_killed_once_it_has_answered(shop: Any) -> None:
    wheel = make_wheel(2000)
    assert upload(shop, wheel) == 200
    kill_now(shop)
    restart(shop, "after the answer")
    assert check_round(shop, wheel, "after the answer") is True


def test_several_at_once(shop: Any, drawn: random.Random, soak: bool) -> None:
    """Each of them is whole or not there; all of them go up afterwards."""
    for number in range(10 if soak else 1):
        wheels = [make_wheel(3000 + 10 * number + one, 1 << 20) for one in range(6)]
        threads = [threading.Thread(target=_try, args=(shop, wheel)) for wheel in wheels]
        for thread in threads:
            thread.start()
        after_s = drawn.uniform(0.01, 0.3)
        # Here, too, the moment is what is drawn.
        time.sleep(after_s)
        kill_now(shop)
        for thread in threads:
            thread.join()
        restart(shop, f"round {number}, killed after {after_s} s")
        for wheel in wheels:
            check_round(shop, wheel, f"round {number}, killed after {after_s} s")
    facts = [one["body"]["filename"] for one in shop.facts("package.published")]
    assert len(facts) == len(set(facts)) == len(listed(shop))


def _try(house: Any, wheel: Wheel) -> None:
    with contextlib.suppress(OSError, IndexError):
        upload(house, wheel)
