"""Wheels are packed reproducibly: the same files give the same bytes, on any machine.

Entries are sorted and stored without compression (zlib's output differs between builds), with
one timestamp and one permission.
"""

from __future__ import annotations

import base64
import hashlib
import io
import stat
import zipfile
from collections.abc import Mapping

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_MODE = stat.S_IFREG | 0o644
WHEEL_FILE = "Wheel-Version: 1.0\nGenerator: seamline\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel_name(name: str, version: str) -> str:
    """
    >>> wheel_name("late-arrival", "1.0.3")
    'late_arrival-1.0.3-py3-none-any.whl'
    """
    return f"{name.replace('-', '_')}-{version}-py3-none-any.whl"


def pack_wheel(
    files: Mapping[str, bytes], info: str, compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The archive with its RECORD in the folder `info`: the same files give the same bytes."""
    recorded = {**files, f"{info}/RECORD": _record(files, f"{info}/RECORD").encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(recorded, key=lambda name: (".dist-info/" in name, name)):
            entry = zipfile.ZipInfo(name, _TIMESTAMP)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = _MODE << 16
            archive.writestr(entry, recorded[name], compression)
    return buffer.getvalue()


def _record(files: Mapping[str, bytes], record: str) -> str:
    lines = [
        f"{name},sha256={spell_hash(hashlib.sha256(data).digest())},{len(data)}"
        for name, data in files.items()
    ]
    return "\n".join([*sorted(lines), f"{record},,"]) + "\n"


def spell_hash(digest: bytes) -> str:
    """As RECORD spells a hash.

    >>> spell_hash(bytes(3))
    'AAAA'
    """
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
