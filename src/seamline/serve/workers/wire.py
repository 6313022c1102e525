"""How one frame is told from the next on a worker's pipe, as `worker_main.py` reads it."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

LENGTHS = struct.Struct("<IQ")


def encode_frame(header: dict[str, Any], body: bytes = b"") -> bytes:
    text = msgspec.json.encode(header)
    return LENGTHS.pack(len(text), len(body)) + text + body
