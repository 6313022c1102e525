"""Other bytes under a taken version, by twine, uv and hand; and files that are no wheel."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAME = "kiosk_tools-1.0.0-py3-none-any.whl"


def wheel(note: str, name: str = "kiosk-tools", version: str = "1.0.0") -> bytes:
    folder = f"{name.replace('-', '_')}-{version}.dist-info"
    files = {
        "kiosk_tools.py": f"NOTE = {note!r}\n",
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},{_record_hash(text)},{len(text)}\n" for path, text in files.items())
    files[f"{folder}/RECORD"] = f"{record}{folder}/RECORD,,\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return buffer.getvalue()


def _record_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def form(filename: str, data: bytes, **fields: str) -> tuple[bytes, dict[str, str]]:
    digest = hashlib.sha256(data).hexdigest()
    given = {
        ":action": "file_upload",
        "protocol_version": "1",
        "name": "kiosk-tools",
        "version": "1.0.0",
        "filetype": "bdist_wheel",
        "sha256_digest": digest,
        **fields,
    }
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in given.items()
    ]
    head = f'--b\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
    body = b"".join([*parts, head.encode(), data, b"\r\n--b--\r\n"])
    return body, {"Content-Type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def upload(kiosk: Any, send: Callable[..., Any]) -> Callable[..., Any]:
    def ask(filename: str, data: bytes, **fields: str) -> Any:
        body, headers = form(filename, data, **fields)
        return send(kiosk.url, "POST", "/pypi/dataops/upload/", body, headers)

    assert ask(NAME, wheel("first")).status == 200
    return ask


def _stored(kiosk: Any) -> bytes:
    address = kiosk.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", "/pypi/dataops/simple/kiosk-tools/")
    page = connection.getresponse().read()
    connection.close()
    return page


def test_bad_input_other_bytes_under_a_taken_version(kiosk: Any, upload: Any) -> None:
    before = _stored(kiosk)
    with kiosk.untouched():
        answer = upload(NAME, wheel("second"))
    assert answer.status in (400, 409)
    message = answer.json["error"]["message"]
    for data in (wheel("first"), wheel("second")):
        assert hashlib.sha256(data).hexdigest()[:12] in message
    assert _stored(kiosk) == before
    assert upload(NAME, wheel("first")).status == 200, "the same bytes again are no other bytes"


@pytest.mark.parametrize("client", ["twine", "uv"])
def test_bad_input_stock_clients_are_told_of_the_conflict(
    kiosk: Any, upload: Any, tmp_path: Path, client: str
) -> None:
    (tmp_path / NAME).write_bytes(wheel("second"))
    url = f"{kiosk.url}/pypi/dataops/upload/"
    token = ["-u", "__token__", "-p", kiosk.tokens["tess"]]
    bin_ = Path(sys.executable).parent
    command = {
        "twine": [sys.executable, "-m", "twine", "upload", "--repository-url", url],
        "uv": [str(bin_ / "uv"), "publish", "--publish-url", url, "--no-config"],
    }[client]
    before = _stored(kiosk)
    done = subprocess.run(
        [*command, *token, str(tmp_path / NAME)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode != 0
    assert "kiosk" in done.stdout + done.stderr
    assert _stored(kiosk) == before


BROKEN = {
    "no zip": (NAME, b"hello", {}),
    "empty": (NAME, b"", {}),
    "half": (NAME, wheel("x")[:200], {}),
    "another name inside": (NAME, wheel("x", name="other"), {}),
    "another version inside": (NAME, wheel("x", version="2.0.0"), {}),
    "path in the name": ("../../" + NAME, wheel("x"), {}),
    "no wheel's name": ("kiosk.txt", wheel("x"), {}),
    "another digest": (
        "kiosk_tools-3.0.0-py3-none-any.whl",
        wheel("x", version="3.0.0"),
        {"sha256_digest": "0" * 64, "version": "3.0.0"},
    ),
    "another action": (NAME, wheel("x"), {":action": "doc_upload"}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_input_files_that_are_no_sound_wheel(kiosk: Any, upload: Any, what: str) -> None:
    filename, data, fields = BROKEN[what]
    before = _stored(kiosk)
    with kiosk.untouched():
        answer = upload(filename, data, **fields)
    assert 400 <= answer.status < 500, answer
    assert answer.json["error"]["message"]
    assert _stored(kiosk) == before


def test_bad_input_strangers_and_viewers_upload_nothing(kiosk: Any, send: Any) -> None:
    body, headers = form("kiosk_tools-4.0.0-py3-none-any.whl", wheel("x", version="4.0.0"))
    for token, status in (("sl_nobody", 401), (kiosk.tokens["vera"], 403)):
        given = {**headers, "Authorization": f"Bearer {token}"}
        answer = send(kiosk.url, "POST", "/pypi/dataops/upload/", body, given)
        assert answer.status == status
