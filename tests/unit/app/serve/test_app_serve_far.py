"""What comes from an origin that is not what it says."""

from __future__ import annotations

import io
import json
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seamline.app.serve.far.fetching import Taking
from seamline.app.serve.far.origin import Origin, check_url
from seamline.domain.clock import SystemClock
from seamline.domain.digests import digest_of
from seamline.domain.errors import DigestMismatch, InvalidInput, Refused, Unavailable
from seamline.runtime.environments import EnvironmentCache
from seamline.serve.snapshots.places import read_places
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


def make_envelope(folder, version, wheel, key):
    columns = (Column("hour", "INT64"),)
    spec = EndpointSpec(
        endpoint="late", model="late", model_version="1.0.0", package_digest=digest_of(wheel),
        payload_digest=digest_of(wheel), wheel_path="/elsewhere/late.whl", wheel_name="late.whl",
        module="late", task="regression", signature=Signature(columns, columns),
        python="/elsewhere/bin/python",
    )  # fmt: skip
    snapshot = ServingSnapshot(
        "production", version, digest_of(b"release"), "r1", "2026-01-01T00:00:00Z", (spec,)
    )
    path = snapshot_path(folder, "production")
    write_snapshot(path, snapshot, key)
    return path.read_bytes()


@pytest.fixture
def giver():
    """An origin that gives out whatever `answers` hold, by the end of the path; and its address."""
    answers: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.get(self.path.rpartition("/")[2], b"")
            self.send_response(200 if body else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield answers, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def taking(tmp_path, giver):
    root, clock = tmp_path / "far", SystemClock()
    cache = EnvironmentCache(root / "environments", Path(sys.executable))
    return Taking(root, Origin(giver[1], ""), Blobs(root / "blobs", clock), cache, clock)


@pytest.fixture
def key(tmp_path):
    return load_or_create_key(tmp_path / "keys")


def test_bytes_of_another_digest_are_thrown_away(tmp_path, taking, giver, key):
    wheel = make_wheel()
    envelope = make_envelope(tmp_path, 1, wheel, key)
    giver[0][digest_of(wheel)] = wheel + b"x"
    with pytest.raises(DigestMismatch, match=r"late 1\.0\.0, as http"):
        taking.take("production", envelope, key.public)
    assert list(taking.blobs.stored()) == []
    assert list((taking.root / "arriving").iterdir()) == []
    assert not snapshot_path(taking.root, "production").exists()


def test_what_has_come_lies_where_this_machine_finds_it(tmp_path, taking, giver, key):
    wheel = make_wheel()
    giver[0][digest_of(wheel)] = wheel
    taking.take("production", make_envelope(tmp_path, 2, wheel, key), key.public)
    place = read_places(taking.root)[digest_of(wheel)]
    assert Path(place.wheel_path).read_bytes() == wheel
    assert place.python == sys.executable
    giver[0].clear()  # what is here is not fetched again
    taking.take("production", make_envelope(tmp_path, 3, wheel, key), key.public)
    with pytest.raises(Refused, match=r"snapshot 2 of production, which is older than 3"):
        taking.take("production", make_envelope(tmp_path, 2, wheel, key), key.public)


def test_what_was_altered_here_is_fetched_again(tmp_path, taking, giver, key):
    wheel = make_wheel()
    giver[0][digest_of(wheel)] = wheel
    envelope = make_envelope(tmp_path, 1, wheel, key)
    taking.take("production", envelope, key.public)
    path = taking.blobs.path_of(digest_of(wheel))
    path.write_bytes(b"other")
    taking.take("production", envelope, key.public)
    assert path.read_bytes() == wheel


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
