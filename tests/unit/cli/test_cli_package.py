"""`seamline package` against a server: what is there, and what is passed over."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seamline.domain.settings import Settings
from seamline.server import serve_in_process

Seamline = Callable[..., str]
PROGRAM = str(Path(sys.executable).with_name("seamline"))
INFO = "tools-1.0.dist-info"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with serve_in_process(Settings(workspace=tmp_path / "workspace")) as url:
        yield url


@pytest.fixture
def seamline(url: str, tmp_path: Path) -> Seamline:
    def run(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [PROGRAM, "package", *words],
            capture_output=True,
            text=True,
            env={**os.environ, "SEAMLINE_URL": url},
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


@pytest.fixture
def published(url: str) -> None:
    """tools 1.0, uploaded as clients do."""
    files = {
        "tools.py": b"x = 1\n",
        f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: tools\nVersion: 1.0\n",
        f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
    }
    record = ""
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        record += f"{path},sha256={digest},{len(data)}\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, data in {**files, f"{INFO}/RECORD": f"{record}{INFO}/RECORD,,".encode()}.items():
            archive.writestr(path, data)
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    body = part.format(":action").encode() + b"file_upload\r\n"
    body += part.format('content"; filename="tools-1.0-py3-none-any.whl').encode()
    body += buffer.getvalue() + b"\r\n--b--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(f"{url}/pypi/dataops/upload/", body, kind)
    with urllib.request.urlopen(request, timeout=60) as response:
        assert response.status == 200


@pytest.mark.usefixtures("published")
def test_list_show_yank_and_back(seamline: Seamline) -> None:
    assert "uploaded" in seamline("list")
    [listed] = json.loads(seamline("list", "--json"))
    assert (listed["name"], listed["newest"], listed["versions"]) == ("tools", "1.0", 1)
    said = seamline("yank", "tools", "1.0", "--reason", "flips labels")
    assert said == "tools 1.0 is yanked: flips labels\n"
    [shown] = json.loads(seamline("show", "Tools", "--json"))
    assert shown["yanked"]["reason"] == "flips labels"
    assert "flips labels" in seamline("show", "tools")
    assert seamline("yank", "tools", "1.0", "--undo") == "tools 1.0 is offered again\n"
    assert "flips labels" not in seamline("show", "tools")
    assert "Did you mean tools?" in seamline("show", "tool", code=1)
    assert "Did you mean 1.0?" in seamline("yank", "tools", "1.01", code=1)
