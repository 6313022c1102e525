"""Over a real port: parts, resumption, kill -9, several processes, wrong bytes, refusals."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamline_loader import errors
from seamline_loader.fetching import Manner

PART = 1 << 16
Start = Callable[..., "subprocess.Popen[str]"]


def cached(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "sha256").glob("*"))


def test_in_parts_once_and_from_the_cache_after(
    site: Any, payload: bytes, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    digest = site.add(payload)
    assert payloads_at(site.url).read(digest) == payload
    starts = range(0, len(payload), PART)
    ranges = {f"bytes={at}-{min(at + PART, len(payload)) - 1}" for at in starts}
    assert len(ranges) == 10
    assert sorted(site.asked) == sorted(["bytes=0-0", *ranges])
    assert payloads_at().read(digest) == payload
    assert len(site.asked) == 11
    assert cached(tmp_path / "cache") == [digest.removeprefix("sha256:")]
    assert list((tmp_path / "cache" / "partial").iterdir()) == []


def test_a_connection_that_breaks_off_is_gone_on_with(
    site: Any, payload: bytes, payloads_at: Callable[..., Any]
) -> None:
    digest = site.add(payload)
    site.cut = 20_000
    assert payloads_at(site.url).read(digest) == payload
    assert f"bytes=20000-{PART - 1}" in site.asked
    assert f"bytes=60000-{PART - 1}" in site.asked


def test_a_server_that_stumbles_is_asked_again(
    site: Any, payload: bytes, payloads_at: Callable[..., Any]
) -> None:
    digest = site.add(payload)
    waited: list[float] = []
    site.statuses = [503, 500, 429]
    manner = Manner(part_bytes=PART, pause=waited.append)
    assert payloads_at(site.url, manner=manner).read(digest) == payload
    assert waited[:3] == [0.2, 0.4, 0.8]
    site.statuses = [503] * 100
    other = site.add(b"other")
    with pytest.raises(errors.Unreachable, match=r"answered 503, 5 times in a row"):
        payloads_at(site.url).read(other)


def test_a_server_without_ranges_sends_the_whole(
    site: Any, payload: bytes, payloads_at: Callable[..., Any]
) -> None:
    digest = site.add(payload)
    site.in_ranges = False
    assert payloads_at(site.url).read(digest) == payload


def test_kill_9_and_start_again(
    site: Any, payload: bytes, start_fetch: Start, tmp_path: Path
) -> None:
    digest = site.add(payload)
    site.let_through = 6
    first = start_fetch(site.url, digest)
    for _ in range(4):
        assert site.held.acquire(timeout=30)
    journal = tmp_path / "cache" / "partial" / f"{digest[7:]}.parts"
    deadline = time.monotonic() + 30
    while len(journal.read_text().splitlines()) < 7:  # its header, and six parts
        assert time.monotonic() < deadline
    assert cached(tmp_path / "cache") == []
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert cached(tmp_path / "cache") == []
    whole = {int(line) for line in journal.read_text().split("\n")[1:-1]}
    site.let_through, site.asked = None, []
    site.release.set()
    second = start_fetch(site.url, digest)
    out, err = second.communicate(timeout=60)
    assert (out.strip(), err) == (digest[7:], "")
    again = {int(one[len("bytes=") :].partition("-")[0]) // PART for one in site.parts()}
    assert (len(whole), len(site.parts())) == (6, 4)
    assert again == set(range(10)) - whole


def test_of_many_processes_one_fetches(
    site: Any, payload: bytes, start_fetch: Start, tmp_path: Path
) -> None:
    digest = site.add(payload)
    processes = [start_fetch(site.url, digest) for _ in range(4)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (out.strip(), err) == (digest[7:], "")
    assert len(site.asked) == 11


def test_wrong_bytes_are_thrown_away(
    make_site: Callable[[], Any], payload: bytes, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    wrong, right = make_site(), make_site()
    digest = right.add(payload)
    other = payload[:-1] + b"\0"
    wrong.payloads[digest[7:]] = other
    with pytest.raises(errors.WrongBytes) as refused:
        payloads_at(wrong.url).read(digest)
    assert digest in str(refused.value)
    assert hashlib.sha256(other).hexdigest() in str(refused.value)
    assert cached(tmp_path / "cache") == []
    assert payloads_at(wrong.url, right.url).read(digest) == payload


def test_what_an_interrupted_fetch_left_wrong_is_fetched_anew(
    site: Any, payload: bytes, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    """As after a power cut: the journal says more than the disk holds."""
    digest = site.add(payload)
    folder = tmp_path / "cache" / "partial"
    folder.mkdir(parents=True)
    (folder / f"{digest[7:]}.payload").write_bytes(bytes(len(payload)))
    (folder / f"{digest[7:]}.parts").write_text(f"{len(payload)} {PART}\n0\n1\n2")
    assert payloads_at(site.url).read(digest) == payload


def test_another_location_is_asked_when_one_has_none(
    make_site: Callable[[], Any], payload: bytes, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    empty, full = make_site(), make_site()
    digest = full.add(payload)
    assert payloads_at(str(tmp_path), empty.url, full.url).read(digest) == payload
    nowhere = "sha256:" + "0" * 64
    with pytest.raises(errors.NotThere) as refused:
        payloads_at(str(tmp_path), empty.url).read(nowhere)
    assert empty.url in str(refused.value) and str(tmp_path) in str(refused.value)
    with pytest.raises(errors.NoLocation, match="SEAMLINE_PAYLOADS"):
        payloads_at().read(nowhere)
    with pytest.raises(errors.LoaderError, match="no digest"):
        payloads_at().read("sha256:../../etc/passwd")


def test_folders(payload: bytes, payloads_at: Callable[..., Any], tmp_path: Path) -> None:
    """Flat, and as a workspace keeps its blobs."""
    name = hashlib.sha256(payload).hexdigest()
    flat, blobs = tmp_path / "flat", tmp_path / "blobs"
    for path in (flat / name, blobs / "sha256" / name[:2] / name[2:]):
        path.parent.mkdir(parents=True)
        path.write_bytes(payload)
    for folder in (flat, blobs):
        read = payloads_at(str(folder), cache=tmp_path / f"cache-of-{folder.name}").read
        assert read(f"sha256:{name}") == payload


def test_tokens_go_where_they_belong(
    make_site: Callable[[], Any],
    payload: bytes,
    payloads_at: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, elsewhere = make_site(), make_site()
    digest = site.add(payload)
    site.token = "s3cret-token"
    for token in (None, "an0ther-one"):
        with pytest.raises(errors.NotAllowed, match="SEAMLINE_TOKEN") as refused:
            payloads_at(site.url, token=token).read(digest)
        assert "an0ther-one" not in str(refused.value)
    assert payloads_at(site.url, token="s3cret-token").read(digest) == payload
    # A redirect may lead anywhere: what it is answered by never sees the token.
    site.redirect = elsewhere.url.removesuffix("/payloads")
    other = elsewhere.add(b"other")
    assert payloads_at(site.url, token="s3cret-token").read(other) == b"other"
    assert set(elsewhere.authorizations) == {None}
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(payloads_at(site.url, token="s3cret-token").__dict__)


def test_nobody_answers(payloads_at: Callable[..., Any]) -> None:
    with pytest.raises(errors.Unreachable, match=r"cannot be reached .*5 times in a row"):
        payloads_at("http://127.0.0.1:9/payloads").read("sha256:" + "0" * 64)
