"""Validators, ranges, HEAD and yanks (RFC 9110, PEP 592), as clients and caches use them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest

from seamline.domain.states import Role
from seamline.register.packages import index as packages
from seamline.register.packages import yanks
from seamline.trust.roles import Principal

Run = Callable[..., subprocess.CompletedProcess[str]]
JSON = {"accept": "application/vnd.pypi.simple.v1+json"}
HTML = {"accept": "text/html"}
PIP = (sys.executable, "-m", "pip", "--python")
UV = (Path(sys.executable).with_name("uv"), "pip", "install", "--reinstall", "--python")
ADA = Principal("ada", frozenset({Role.DEVELOPER}))
BOB = Principal("bob", frozenset({Role.DEVELOPER}))
REASON = 'predicts "late" <always>'


@pytest.fixture
def publish(index: Any, make_wheel: Callable[..., Path]) -> Callable[..., packages.PackageFile]:
    def _publish(version: str, name: str = "team-tools") -> packages.PackageFile:
        path = make_wheel(name, version, f"x = {version!r}\n")
        return packages.publish_package(index.stores, path.name, path.read_bytes(), by="ada")

    return _publish


def address_of(index: Any, file: packages.PackageFile) -> str:
    digest = file.digest.removeprefix("sha256:")
    return f"{index.url}/pypi/dataops/files/{digest}/{file.filename}"


@pytest.mark.parametrize("kind", [JSON, HTML])
@pytest.mark.parametrize("path", ["", "team-tools/"])
def test_pages_are_asked_for_again_only_when_they_changed(
    index: Any, publish: Callable[..., Any], kind: dict[str, str], path: str
) -> None:
    publish("1.0")
    url = index.simple() + path
    first = httpx.get(url, headers=kind)
    assert httpx.get(url, headers=kind).content == first.content
    etag = first.headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        again = httpx.get(url, headers={**kind, "if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    head = httpx.head(url, headers=kind)
    assert (head.status_code, head.headers["etag"], head.content) == (200, etag, b"")
    assert head.headers["content-length"] == str(len(first.content))
    other = httpx.get(url, headers=HTML if kind is JSON else JSON)
    assert other.headers["etag"] != etag
    publish("1.1")
    publish("1.0", "other-tools")
    changed = httpx.get(url, headers={**kind, "if-none-match": etag})
    assert changed.status_code == 200
    assert ("1.1" if path else "other-tools") in changed.text


def test_files_in_ranges(index: Any, publish: Callable[..., Any]) -> None:
    file = publish("1.0")
    url = address_of(index, file)
    whole = httpx.get(url)
    data, etag = whole.content, whole.headers["etag"]
    assert hashlib.sha256(data).hexdigest() == file.digest.removeprefix("sha256:")
    assert whole.headers["accept-ranges"] == "bytes"
    for text, start, stop in (
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, len(data)),
        ("bytes=-7", len(data) - 7, len(data)),
        (f"bytes=5-{10 * len(data)}", 5, len(data)),
    ):
        part = httpx.get(url, headers={"range": text})
        assert (part.status_code, part.content) == (206, data[start:stop])
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
        head = httpx.head(url, headers={"range": text})
        assert (head.status_code, head.headers["content-length"]) == (206, str(stop - start))
    for text in ("bytes=0-1,3-4", "bytes=x-", "lines=1-2", "bytes=5-2"):
        assert httpx.get(url, headers={"range": text}).content == data
    beyond = httpx.get(url, headers={"range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(data)}")
    assert httpx.get(url, headers={"range": "bytes=0-9", "if-range": etag}).content == data[:10]
    assert httpx.get(url, headers={"range": "bytes=0-9", "if-range": '"old"'}).content == data
    known = httpx.get(url, headers={"if-none-match": etag})
    assert (known.status_code, known.content) == (304, b"")


def test_altered_bytes_are_refused_whole_and_in_part(
    index: Any, publish: Callable[..., Any]
) -> None:
    """Downloaded before, so that it was found sound once."""
    file = publish("1.0")
    url = address_of(index, file)
    data = httpx.get(url).content
    path = index.stores.blobs.path_of(file.digest)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    path.write_bytes(flipped)
    for headers in ({}, {"range": "bytes=0-9"}):
        refused = httpx.get(url, headers=headers)
        assert refused.status_code == 422
        message = refused.json()["error"]["message"]
        assert file.digest in message
        assert hashlib.sha256(flipped).hexdigest() in message
    path.write_bytes(data)
    assert httpx.get(url).content == data


def test_names_that_no_package_can_have(index: Any) -> None:
    for name in ("%2e%2e", "a%20b", "-", "%0d%0aset-cookie:x", "x" * 5000 + "!"):
        answer = httpx.get(f"{index.simple()}{name}/")
        assert answer.status_code == 404, name


def test_what_pip_and_uv_make_of_a_yank(
    index: Any, publish: Callable[..., Any], venv: Path, run: Run
) -> None:
    for version in ("1.0", "1.1"):
        publish(version)
    yanks.yank_version(index.stores, "Team_Tools", "1.1.0", REASON, who=ADA)
    [ours, yanked] = httpx.get(index.simple() + "team-tools/", headers=JSON).json()["files"]
    assert (ours["yanked"], yanked["yanked"]) == (False, REASON)
    page = httpx.get(index.simple() + "team-tools/", headers=HTML).text
    assert [unescape(text) for text in re.findall('data-yanked="([^"]*)"', page)] == [REASON]
    # Not the module itself: bytecode of the version before, of the same second and size, is taken
    # for its own.
    show = (venv, "-c", "from importlib.metadata import version; print(version('team-tools'))")
    for install in ((*PIP, venv, "install", "--force-reinstall"), (*UV, venv)):
        index_of = ("--index-url", index.simple())
        run(*install, *index_of, "team-tools")
        assert run(*show).stdout == "1.0\n"
        pinned = run(*install, *index_of, "team-tools==1.1")
        assert REASON in pinned.stdout + pinned.stderr
        assert run(*show).stdout == "1.1\n"
    yanks.unyank_version(index.stores, "team-tools", "1.1", who=ADA)
    assert "yanked" not in httpx.get(index.simple() + "team-tools/", headers=HTML).text
    for install in ((*PIP, venv, "install", "--force-reinstall"), (*UV, venv)):
        run(*install, "--index-url", index.simple(), "team-tools")
        assert run(*show).stdout == "1.1\n"


def test_confusion_with_a_higher_version_upstream(
    index: Any, upstream: Any, make_wheel: Callable[..., Path], venv: Path, run: Run
) -> None:
    """An attacker publishes our names elsewhere: higher, spelt differently, and as a dependency."""
    evil = "raise SystemExit('evil')\n"
    for name, version in (("team-tools", "99.0"), ("team-models", "99.0")):
        path = make_wheel(name, version, evil)
        packages.publish_package(upstream.stores, path.name, path.read_bytes(), by="eve")
    for name, requires in (("team-tools", ""), ("team-models", "Team.Tools>=1")):
        path = make_wheel(name, "1.0", requires=requires)
        packages.publish_package(index.stores, path.name, path.read_bytes(), by="ada")
    # All that we had is passed over, and still nobody looks elsewhere.
    path = make_wheel("team-charts", "1.0")
    packages.publish_package(index.stores, path.name, path.read_bytes(), by="ada")
    yanks.yank_version(index.stores, "team-charts", "1.0", "", who=ADA)
    path = make_wheel("team-charts", "99.0", evil)
    packages.publish_package(upstream.stores, path.name, path.read_bytes(), by="eve")
    for install in ((*PIP, venv, "install", "--force-reinstall"), (*UV, venv)):
        for name in ("TEAM_MODELS", "team-models>=1", "team.models"):
            run(*install, "--index-url", index.simple(), name)
            assert run(venv, "-c", "import team_models as m; print(m.x)").stdout == "1\n"
        for name in ("team-models>=2", "team-tools==99.0", "team-charts>1"):
            refused = run(*install, "--index-url", index.simple(), name, check=False)
            assert refused.returncode != 0, name
    assert upstream.asked == []


def test_who_may_yank(index: Any, publish: Callable[..., Any]) -> None:
    publish("1.0")
    with pytest.raises(Exception, match="belongs to ada; bob"):
        yanks.yank_version(index.stores, "team-tools", "1.0", "", who=BOB)
    root = Principal("root", frozenset({Role.ADMIN}))
    yanked = yanks.yank_version(index.stores, "team-tools", "1.0", "broken", who=root)
    assert yanked.yank is not None
    assert (yanked.yank.reason, yanked.yank.by) == ("broken", "root")
