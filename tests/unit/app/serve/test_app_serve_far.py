"""What comes from an origin that is not what it says."""

from __future__ import annotations

import dataclasses
import io
import json
import resource
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.waiting import wait_until

from seamline.app.serve.far.downloads import Downloads
from seamline.app.serve.far.fetching import Taking
from seamline.app.serve.far.following import Follower
from seamline.app.serve.far.later import Later
from seamline.app.serve.far.origin import Origin, check_url
from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused, Unavailable
from seamline.runtime.environments import EnvironmentCache
from seamline.serve.snapshots.families import Family, Member
from seamline.serve.snapshots.places import read_places, want_package
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.store.blobs import Blobs
from seamline.trust.keys import load_or_create_key


def make_wheel(requirements=()):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        archive.writestr("late/model.json", json.dumps({"requirements": list(requirements)}))
    return memory.getvalue()


def sign(folder, version, spec, key):
    snapshot = ServingSnapshot(
        "production", version, digest_of(b"release"), "r1", "2026-01-01T00:00:00Z", (spec,)
    )
    path = snapshot_path(folder, "production")
    write_snapshot(path, snapshot, key)
    return path.read_bytes()


def spec_of(wheel, family=None):
    columns = (Column("hour", "INT64"),)
    return EndpointSpec(
        endpoint="late", model="late", model_version="1.0.0", package_digest=digest_of(wheel),
        payload_digest=digest_of(wheel), wheel_path="/elsewhere/late.whl", wheel_name="late.whl",
        module="late", task="regression", signature=Signature(columns, columns),
        python="/elsewhere/bin/python", family=family,
    )  # fmt: skip


def make_envelope(folder, version, wheel, key):
    return sign(folder, version, spec_of(wheel), key)


class Giver:
    def __init__(self):
        self.answers: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.stops: int | None = None
        self.goes_on = threading.Event()
        self.url = ""


@pytest.fixture
def giver():
    """An origin that gives out whatever `answers` hold, by the end of the path; and its address.

    `Giver.stops` is where it stalls in a body, until its client has gone or `Giver.goes_on` is set,
    and then breaks off; `asked`: the range of each request.
    """

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            name = self.path.rpartition("/")[2]
            body = found.answers.get(name, b"")
            begin = self.headers["Range"]
            found.asked.append((name, begin))
            start = int(begin.removeprefix("bytes=").rstrip("-")) if begin else 0
            if body and start >= len(body):
                self.send_error(416)
                return
            self.send_response((206 if begin else 200) if body else 503)
            if begin:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : found.stops])
            if body and found.stops is not None:
                self.wfile.flush()
                found.goes_on.wait()

    found = Giver()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield found
        found.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def taking(tmp_path, giver):
    root, clock = tmp_path / "far", SystemClock()
    cache = EnvironmentCache(root / "environments", Path(sys.executable))
    origin = Origin(giver.url, "")
    downloads = Downloads(root / "arriving", origin)
    return Taking(root, origin, Blobs(root / "blobs", clock), cache, clock, downloads)


@pytest.fixture
def key(tmp_path):
    return load_or_create_key(tmp_path / "keys")


def test_bytes_of_another_digest_are_thrown_away(tmp_path, taking, giver, key):
    wheel = make_wheel()
    envelope = make_envelope(tmp_path, 1, wheel, key)
    giver.answers[digest_of(wheel)] = wheel + b"x"
    with pytest.raises(DigestMismatch, match=r"late 1\.0\.0, as http"):
        taking.take("production", envelope, key.public)
    assert list(taking.blobs.stored()) == []
    assert list((taking.root / "arriving").iterdir()) == []
    assert not snapshot_path(taking.root, "production").exists()


def test_what_has_come_lies_where_this_machine_finds_it(tmp_path, taking, giver, key):
    wheel = make_wheel()
    giver.answers[digest_of(wheel)] = wheel
    taking.take("production", make_envelope(tmp_path, 2, wheel, key), key.public)
    place = read_places(taking.root)[digest_of(wheel)]
    assert Path(place.wheel_path).read_bytes() == wheel
    assert place.python == sys.executable
    giver.answers.clear()  # what is here is not fetched again
    taking.take("production", make_envelope(tmp_path, 3, wheel, key), key.public)
    with pytest.raises(Refused, match=r"snapshot 2 of production, which is older than 3"):
        taking.take("production", make_envelope(tmp_path, 2, wheel, key), key.public)


def test_what_was_altered_here_is_fetched_again(tmp_path, taking, giver, key):
    wheel = make_wheel()
    giver.answers[digest_of(wheel)] = wheel
    envelope = make_envelope(tmp_path, 1, wheel, key)
    taking.take("production", envelope, key.public)
    path = taking.blobs.path_of(digest_of(wheel))
    path.write_bytes(b"other")
    taking.take("production", envelope, key.public)
    assert path.read_bytes() == wheel


def part_of(taking, wheel):
    return taking.root / "arriving" / f"{digest_of(wheel).removeprefix('sha256:')}.part"


def test_what_came_before_the_line_broke_is_not_asked_for_again(tmp_path, taking, giver, key):
    wheel = make_wheel() + b"x" * 5000
    digest = digest_of(wheel)
    giver.answers[digest], giver.stops = wheel, 3000
    giver.goes_on.set()  # it breaks off at once
    envelope = make_envelope(tmp_path, 1, wheel, key)
    with pytest.raises(Unavailable, match=f"broke off {len(wheel) - 3000} bytes before the end"):
        taking.take("production", envelope, key.public)
    giver.stops = None
    taking.take("production", envelope, key.public)
    assert giver.asked == [(digest, None), (digest, "bytes=3000-")]
    assert taking.blobs.get(digest) == wheel
    assert list((taking.root / "arriving").iterdir()) == []


def test_a_full_disk_here_is_not_taken_for_an_origin_that_is_away(tmp_path, taking, giver, key):
    wheel = make_wheel()
    envelope = make_envelope(tmp_path, 1, wheel, key)
    giver.answers[digest_of(wheel)] = wheel
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # no file of this process grows further
    try:
        with pytest.raises(Unavailable) as refused:
            taking.take("production", envelope, key.public)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.message == (
        f"late 1.0.0 cannot be kept in {taking.root / 'arriving'}: File too large."
    )
    assert "Make room there" in refused.value.next_step
    taking.take("production", envelope, key.public)
    assert digest_of(wheel) in read_places(taking.root)


def test_what_answers_and_is_no_seamline_is_said_so(giver):
    giver.answers["keys"] = b"<html>a proxy's page</html>"
    with pytest.raises(Unavailable, match="answered 200, and not as Seamline does") as refused:
        Origin(giver.url, "").key_history()
    assert "address of a Seamline server" in refused.value.next_step
    giver.answers["keys"] = b'{"other": []}'
    with pytest.raises(Unavailable, match="answered 200, and not as Seamline does"):
        Origin(giver.url, "").key_history()


def test_a_killed_one_goes_on_where_it_was(tmp_path, taking, giver, key):
    wheel = b"x" * 5_000_000 + make_wheel()
    digest = digest_of(wheel)
    giver.answers[digest], giver.stops = wheel, 3_000_000
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from seamline.app.serve.far.downloads import Downloads\n"
        "from seamline.app.serve.far.origin import Origin\n"
        "Downloads(Path(sys.argv[1]), Origin(sys.argv[2], ''))"
        ".fetch('production', sys.argv[3], 'late')"
    )
    command = [sys.executable, "-c", program, taking.root / "arriving", giver.url, digest]
    with subprocess.Popen(command) as process:
        part = part_of(taking, wheel)
        wait_until(lambda: part.exists() and part.stat().st_size >= 2_000_000)
        process.kill()
    kept = part.stat().st_size
    giver.stops = None
    taking.take("production", make_envelope(tmp_path, 1, wheel, key), key.public)
    assert giver.asked[1:] == [(digest, f"bytes={kept}-")]
    assert taking.blobs.get(digest) == wheel


@pytest.mark.parametrize("half", ["whole", "altered", "too long"])
def test_what_is_half_there_is_believed_by_its_digest_alone(tmp_path, taking, giver, key, half):
    wheel = make_wheel() + b"x" * 5000
    giver.answers[digest_of(wheel)] = wheel
    part = part_of(taking, wheel)
    part.parent.mkdir(parents=True)
    part.write_bytes({"whole": wheel, "altered": b"y" * 3000, "too long": wheel + b"x"}[half])
    envelope = make_envelope(tmp_path, 1, wheel, key)
    if half == "too long":
        with pytest.raises(Unavailable, match="has less of"):
            taking.take("production", envelope, key.public)
    taking.take("production", envelope, key.public)
    assert taking.blobs.get(digest_of(wheel)) == wheel
    assert bool(giver.asked) == (half != "whole")


def family_of(wheels):
    members = tuple(
        Member(
            (n,),
            f"late-{n}",
            "1.0.0",
            digest_of(wheel),
            digest_of(wheel),
            "/elsewhere/late.whl",
            "late.whl",
            "late",
            "/elsewhere/bin/python",
        )
        for n, wheel in enumerate(wheels)
    )
    return Family(("hour",), (Column("temp", "FP64"),), members, 1 << 20)


def test_of_many_models_one_that_cannot_come_keeps_no_other_waiting(tmp_path, taking, giver, key):
    wheels = [make_wheel() + b"x" * n for n in range(1, 6)]
    digests = [digest_of(wheel) for wheel in wheels]
    columns = (Column("hour", "INT64"), Column("temp", "FP64"))
    spec = dataclasses.replace(
        spec_of(wheels[0], family_of(wheels)), signature=Signature(columns, columns)
    )
    envelope = sign(tmp_path, 1, spec, key)
    giver.answers[digests[0]] = wheels[0]
    giver.answers[digests[1]] = b"other"
    follower = Follower(taking, "production", "")
    taken = taking.take("production", envelope, key.public)
    assert list(taken.later) == digests[1:], "one is altered, and another is not there"
    places = read_places(taking.root)
    assert {place.python for place in places.values()} == {sys.executable}
    assert [Path(places[one].wheel_path).exists() for one in digests] == [True] + [False] * 4

    follower.later.put(taken.later)
    giver.answers |= dict(zip(digests[2:], wheels[2:], strict=True))
    giver.asked.clear()
    assert want_package(taking.root, digests[4])
    with pytest.raises(DigestMismatch):
        follower.fetch_missing()
    asked = [digests[4], digests[1], digests[2], digests[3]]
    assert [one for one, _ in giver.asked] == asked, "what is wanted first, and each once"
    giver.answers[digests[1]] = wheels[1]
    follower.fetch_missing()
    assert [one for one, _ in giver.asked[4:]] == [digests[1]]
    assert all(taking.blobs.get(one) == wheel for one, wheel in zip(digests, wheels, strict=True))
    assert len(follower.later) == 0
    taking.forget_others(taken.snapshot)
    assert len(list(taking.blobs.stored())) == 5


def test_where_nothing_comes_those_that_had_no_turn_are_next(tmp_path):
    later, came, tried = Later(), [], []
    later.put(dict.fromkeys("abcdefgh", "a model"))

    def bring(digest, what):
        tried.append(digest)
        if digest not in came:
            raise Unavailable(f"not {digest}")

    for expected in ("abc", "def", "gh", "abc"):
        tried.clear()
        with pytest.raises(Unavailable, match=f"not {expected[0]}"):
            later.bring_all(tmp_path, bring)
        assert "".join(tried) == expected
    came += "abcdefgh"
    later.bring_all(tmp_path, bring)
    later.bring_all(tmp_path, bring)
    assert len(later) == 0


def test_a_key_that_is_not_trusted_changes_nothing(tmp_path, taking, key):
    stranger = load_or_create_key(tmp_path / "stranger")
    envelope = make_envelope(tmp_path, 1, make_wheel(), stranger)
    with pytest.raises(Refused, match="No trusted key signed"):
        taking.take("production", envelope, key.public)
    assert not taking.root.joinpath("serving").exists()


def test_an_origin_that_cannot_is_asked_later(tmp_path, taking, key):
    with pytest.raises(Unavailable, match="answered 503"):
        taking.take("production", make_envelope(tmp_path, 1, make_wheel(), key), key.public)


@pytest.mark.parametrize("url", ["", "far.example", "ftp://far.example", "http://x:0"])
def test_what_is_no_address_is_said(url):
    with pytest.raises(InvalidInput, match="no address of a server"):
        check_url(url)
