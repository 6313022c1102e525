"""A disk that is full, wherever an upload has come to: a clear refusal, nothing visible, and the
server goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import wait_until

from seamline.register.packages.wheel_pack import WHEEL_FILE, pack_wheel

NAME = "heavy-tools"
BOUNDARY = "b0undary"
ROOM_MB = 64
#: How much is left when an upload of 300 KB arrives, in KB: from nothing at all to just enough.
LEFT_KB = (0, 4, 16, 64, 200, 290, 310, 330, 360, 420, 600)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of its own, in memory."""
    folder = tmp_path_factory.mktemp("small-disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def shop(build_house: Any, small_disk: Path) -> Iterator[Any]:
    made = build_house(small_disk)
    try:
        made.up()
        # The name is ours from now on: to ask for it leads nowhere else.
        assert upload(made, "0.1")[0] == 200
        yield made
    finally:
        made.down()


def make_wheel(version: str, size: int = 300 << 10) -> bytes:
    info = f"heavy_tools-{version}.dist-info"
    files = {
        "heavy_tools.bin": hashlib.shake_256(version.encode()).digest(size),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": WHEEL_FILE.encode(),
    }
    return pack_wheel(files, info)


def filename_of(version: str) -> str:
    return f"heavy_tools-{version}-py3-none-any.whl"


def upload(house: Any, version: str, size: int = 300 << 10) -> tuple[int, str]:
    """The status and what was said."""
    said = 'Content-Disposition: form-data; name="{}"{}\r\n\r\n'
    action = said.format(":action", "").encode() + b"file_upload\r\n"
    content = said.format("content", f'; filename="{filename_of(version)}"').encode()
    dashes = f"--{BOUNDARY}".encode()
    body = dashes + b"\r\n" + action + dashes + b"\r\n" + content + make_wheel(version, size)
    request = urllib.request.Request(
        f"{house.address['url']}/pypi/dataops/upload/",
        body + b"\r\n" + dashes + b"--\r\n",
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def listed(house: Any) -> list[str]:
    url = f"{house.address['url']}/pypi/dataops/simple/{NAME}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=accept), timeout=60) as page:
        return [one["filename"] for one in json.load(page)["files"]]


@contextlib.contextmanager
def filled(disk: Path, left_kb: int) -> Iterator[None]:
    """Something else takes all the room but that."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(bytes(1 << 20)):
                    pass
            with contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
            file.truncate(max(0, file.seek(0, os.SEEK_END) - (left_kb << 10)))
        yield
    finally:
        filler.unlink()


def check_refusal(status: int, said: str, moment: str) -> None:
    assert status in (503, 507), f"{moment}: {status} {said}"
    error = json.loads(said)["error"]
    assert "room" in error["message"], moment
    assert error["next_step"], moment


def check_kept(house: Any, version: str, status: int, moment: str) -> None:
    """What was answered is what is there, and nothing is left lying about."""
    is_there = filename_of(version) in listed(house)
    assert is_there == (status == 200), moment
    facts = [one["body"]["filename"] for one in house.facts("package.published")]
    assert facts.count(filename_of(version)) == is_there, moment
    # In time: the server goes on with other things, and writes these by halves, too.
    wait_until(lambda: left_over(house.workspace) == [], what=moment)


def left_over(workspace: Path) -> list[str]:
    """Names of what was received and of halves; of all that is there at this moment."""
    command = ["find", workspace, "-path", "*/incoming/*", "-o", "-name", "*partial*"]
    command += ["-o", "-name", "*#*"]
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()


def test_an_upload_larger_than_the_disk(shop: Any) -> None:
    status, said = upload(shop, "1.0", ROOM_MB << 20)
    check_refusal(status, said, "larger than the disk")
    check_kept(shop, "1.0", status, "larger than the disk")
    assert upload(shop, "1.0")[0] == 200


@pytest.mark.parametrize("left_kb", LEFT_KB)
def test_a_disk_that_is_almost_full(shop: Any, small_disk: Path, left_kb: int) -> None:
    version = f"2.{left_kb}"
    with filled(small_disk, left_kb):
        status, said = upload(shop, version)
        if status != 200:
            check_refusal(status, said, f"{left_kb} KB left")
        # Reading goes on while there is no room.
        assert filename_of("0.1") in listed(shop)
    check_kept(shop, version, status, f"{left_kb} KB left")
    assert upload(shop, version)[0] == 200
    check_kept(shop, version, 200, f"{left_kb} KB left, again")
    assert shop.ask("/audit/verify")["broken"] is None


def test_other_requests_are_told_too(shop: Any, small_disk: Path, training_ir: str) -> None:
    ir = training_ir + "# a note\n" * 100_000
    with filled(small_disk, 0), pytest.raises(urllib.error.HTTPError) as refused:
        shop.ask("/pipelines?tags=1.0.0", file=ir.encode())
    check_refusal(refused.value.code, refused.value.read().decode(), "a pipeline")
    assert shop.ask("/pipelines?tags=1.0.0", file=ir.encode())["package"] == "line-training"


def test_the_smallest_is_refused_and_the_largest_taken(shop: Any, small_disk: Path) -> None:
    """So that the test above has seen both."""
    for left_kb, statuses in ((LEFT_KB[0], {503, 507}), (4096, {200})):
        with filled(small_disk, left_kb):
            assert upload(shop, f"3.{left_kb}")[0] in statuses
