"""Wheels of any size, made quickly, and sent as twine sends them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

BOUNDARY = "bench-boundary"
PIECE = 1 << 20


def write_wheel(folder: Path, name: str, version: str, payload_bytes: int = 0) -> Path:
    """A sound wheel; the payload is zeros, stored, hashed and written in pieces."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    texts = {
        f"{module}/__init__.py": b"x = 1\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{entry},{_spelt(hashlib.sha256(text))}," for entry, text in texts.items()]
    target = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        if payload_bytes:
            payload, hasher = f"{module}/payload.bin", hashlib.sha256()
            with archive.open(payload, "w", force_zip64=True) as entry:
                for _ in range(payload_bytes // PIECE):
                    entry.write(bytes(PIECE))
                    hasher.update(bytes(PIECE))
            lines.append(f"{payload},{_spelt(hasher)},")
        for entry, text in texts.items():
            archive.writestr(entry, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,\n"]))
    return target


def _spelt(hasher: hashlib._Hash) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hasher.digest()).decode().rstrip("=")


def upload(url: str, wheel: Path, headers: dict[str, str] | None = None) -> None:
    """As twine does it, in bounded memory."""
    name, version = wheel.name.split("-")[:2]
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "filetype": "bdist_wheel",
        "name": name.replace("_", "-"),
        "version": version,
    }
    line = '--{}\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n'
    head = "".join(line.format(BOUNDARY, key, "") + f"{text}\r\n" for key, text in fields.items())
    head += line.format(BOUNDARY, "content", f'; filename="{wheel.name}"')
    end = f"\r\n--{BOUNDARY}--\r\n".encode()
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=600)
    connection.putrequest("POST", parts.path)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    length = len(head.encode()) + wheel.stat().st_size + len(end)
    connection.putheader("Content-Length", str(length))
    for key, text in (headers or {}).items():
        connection.putheader(key, text)
    connection.endheaders(head.encode())
    with wheel.open("rb") as file:
        while piece := file.read(PIECE):
            connection.send(piece)
    connection.send(end)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{url} answered {answer.status}: {body[:300]!r}")
