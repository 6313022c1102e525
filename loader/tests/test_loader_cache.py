"""What stays on the disk, what goes, and what happens when it is altered or full."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seamline_loader import errors, load_thin
from seamline_loader.cache import ABANDONED_S, Cache
from seamline_loader.configuration import parse_size, read_configuration


def names(folder: Path) -> set[str]:
    return {path.name for path in (folder / "sha256").iterdir()}


def test_the_least_recently_used_goes(
    site: Any, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    digests = [site.add(bytes([n]) * 1000) for n in range(3)]
    payloads = payloads_at(site.url, limit=2500)
    for age, digest in enumerate(digests[:2]):
        payloads.read(digest)
        os.utime(cache / "sha256" / digest[7:], (1000 + age, 1000 + age))
    payloads.read(digests[0])  # now the other one is the least recently used
    payloads.read(digests[2])
    assert names(cache) == {digests[0][7:], digests[2][7:]}
    large = site.add(b"x" * 9000)
    assert payloads.read(large) == b"x" * 9000
    assert names(cache) == {large[7:]}


def test_an_open_payload_outlives_its_place(
    site: Any, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    first, second = site.add(b"1" * 1000), site.add(b"2" * 1000)
    payloads = payloads_at(site.url, limit=1000)
    with payloads.open(first) as file:
        payloads.read(second)
        assert names(tmp_path / "cache") == {second[7:]}
        assert file.read() == b"1" * 1000


def test_what_nobody_went_on_with_is_removed(
    site: Any, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    left = tmp_path / "cache" / "partial"
    left.mkdir(parents=True)
    for name in ("old", "held", "new"):
        (left / f"{name}.payload").write_bytes(b"half")
        (left / f"{name}.parts").write_text("8 4\n0\n")
    for name in ("old", "held"):
        path = left / f"{name}.payload"
        long_ago = path.stat().st_mtime - ABANDONED_S - 10
        os.utime(path, (long_ago, long_ago))
    with Cache(tmp_path / "cache", 1000).lock("held"):
        payloads_at(site.url).read(site.add(b"x"))
    assert sorted(path.stem for path in left.glob("*.payload")) == ["held", "new"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(site: Any, payloads_at: Callable[..., Any], small_disk: Path) -> None:
    payloads = payloads_at(site.url, cache=small_disk)
    small = site.add(b"1" * 400_000)
    assert payloads.read(small) == b"1" * 400_000
    with pytest.raises(errors.DiskFull, match=r"2,000,000 bytes.*SEAMLINE_PAYLOAD_CACHE"):
        payloads.read(site.add(b"2" * 2_000_000))


def test_a_disk_that_somebody_else_fills_meanwhile(
    site: Any, payload: bytes, payloads_at: Callable[..., Any], small_disk: Path
) -> None:
    """Nothing is lost: with room again, what was fetched is gone on with."""
    digest = site.add(payload)
    free = shutil.disk_usage(small_disk).free

    def fill(_wanted: str) -> None:
        (small_disk / "others").write_bytes(bytes(free - len(payload) // 2))

    site.before_parts = fill
    with pytest.raises(errors.DiskFull):
        payloads_at(site.url, cache=small_disk).read(digest)
    assert not (small_disk / "sha256" / digest[7:]).exists()
    (small_disk / "others").unlink()
    assert payloads_at(site.url, cache=small_disk).read(digest) == payload
    assert len(site.parts()) < 20


def test_a_folder_that_cannot_be_one(
    site: Any, payloads_at: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.CacheUnusable, match=r"file.*SEAMLINE_PAYLOAD_CACHE"):
        payloads_at(site.url, cache=tmp_path / "file" / "cache").read(site.add(b"x"))


def test_an_altered_payload_is_refused_and_fetched_anew(
    site: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digest = site.add(b"a model")
    monkeypatch.setenv("SEAMLINE_PAYLOADS", site.url)
    monkeypatch.setenv("SEAMLINE_PAYLOAD_CACHE", str(tmp_path))
    monkeypatch.delenv("SEAMLINE_ENDPOINT", raising=False)

    def load_model(package: str, read_payload: Callable[[str], bytes]) -> str:
        data = read_payload(digest)
        found = "sha256:" + hashlib.sha256(data).hexdigest()
        if found != digest:
            raise ValueError(f"altered: expected {digest}, found {found}")
        return f"{package}: {data.decode()}"

    loader = SimpleNamespace(load_model=load_model)
    assert load_thin("p", loader) == "p: a model"
    (tmp_path / "sha256" / digest[7:]).write_bytes(b"another")
    assert load_thin("p", loader) == "p: a model"
    assert digest in caplog.text
    assert len(site.parts()) == 2
    (tmp_path / "sha256" / digest[7:]).write_bytes(b"another")
    site.payloads.clear()
    with pytest.raises(errors.NotThere):
        load_thin("p", loader)


def test_configuration_from_files_and_the_environment(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "seamline" / "loader.conf"
    own.parent.mkdir(parents=True)
    own.write_text("[loader]\npayloads = /a, https://b/payloads\ncache_size = 3 MB\n")
    environ = {"HOME": str(tmp_path)}
    found = read_configuration(environ)
    assert found.locations == ("/a", "https://b/payloads")
    assert (found.cache, found.cache_bytes) == (tmp_path / ".cache/seamline/payloads", 3_000_000)
    named = tmp_path / "named.conf"
    named.write_text("[loader]\npayloads = /c\ncache = ~/kept\n")
    found = read_configuration({**environ, "SEAMLINE_LOADER_CONFIG": str(named)})
    assert (found.locations, found.cache) == (("/c",), tmp_path / "kept")
    assert found.cache_bytes == 3_000_000
    found = read_configuration({**environ, "SEAMLINE_PAYLOADS": "/d", "SEAMLINE_TOKEN": "s3cret"})
    assert (found.locations, found.token) == (("/d",), "s3cret")
    assert "s3cret" not in repr(found)
    assert read_configuration({"HOME": "/nowhere"}).locations == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[loader]\npayload = x\n", "'payload', which is not known"),
        ("[other]\n", "'other', which is not known"),
        ("payloads = x\n", "cannot be read"),
        ("[loader]\ncache_size = much\n", "'much' is no size .*loader.conf"),
    ],
)
def test_configuration_that_cannot_be(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "loader.conf"
    path.write_text(text)
    environ = {"HOME": "/nowhere", "SEAMLINE_LOADER_CONFIG": str(path)}
    with pytest.raises(errors.ConfigurationError, match=why):
        read_configuration(environ)
    with pytest.raises(errors.ConfigurationError, match="not there"):
        read_configuration({"SEAMLINE_LOADER_CONFIG": str(tmp_path / "none")})


def test_sizes() -> None:
    assert parse_size("20GB") == 20_000_000_000
    with pytest.raises(errors.ConfigurationError):
        parse_size("-1")
