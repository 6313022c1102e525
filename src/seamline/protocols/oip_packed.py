"""Bodies packed by gzip or deflate: bounded as they are unpacked, packed where it is worth it."""

from __future__ import annotations

import zlib

from seamline.domain.errors import InvalidInput
from seamline.serve.inputs.validate import TooLarge

MAX_BODY_BYTES = 16 << 20
COMPRESS_ABOVE_BYTES = 4096
#: What Accept-Encoding says where shorter answers are packed, too: who names one encoding alone
#: means it; most clients list what they can read.
PACKED = (b"gzip", b"deflate")


def decompress(body: bytes, encodings: str) -> bytes:
    """As Content-Encoding lists them, gzip and deflate in any order; never beyond the limit.

    >>> decompress(pack(b"a", "gzip") + pack(b"b", "gzip"), "gzip")
    b'ab'
    """
    for name in reversed([one.strip().lower() for one in encodings.split(",")]):
        if name in ("", "identity"):
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            raise InvalidInput(f"Content-Encoding {name!r} is not known: send gzip or deflate.")
        body = _unpack(body, name)
    return body


def _unpack(body: bytes, encoding: str) -> bytes:
    parts: list[bytes] = []
    room = MAX_BODY_BYTES
    while body or not parts:
        # 32 + 15: either header is recognised.
        reader = zlib.decompressobj(47)
        try:
            part = reader.decompress(body, room + 1)
        except zlib.error as error:
            raise InvalidInput(f"The body is not {encoding}: {error}.") from error
        room -= len(part)
        if room < 0:
            raise too_large(MAX_BODY_BYTES + 1)
        if not reader.eof:
            raise InvalidInput(f"The {encoding} body is cut off.")
        parts.append(part)
        if reader.unused_data == body:
            raise InvalidInput(f"The body is not {encoding}.")
        body = reader.unused_data
    return b"".join(parts)


def pack(body: bytes, encoding: str) -> bytes:
    """For a short body a small window: to make a large one costs more than all the rest.

    >>> decompress(pack(b"a" * 5000, "gzip") + pack(b"b", "gzip"), "gzip")[-2:]
    b'ab'
    """
    window, memory = (12, 4) if len(body) <= COMPRESS_ABOVE_BYTES else (15, 8)
    packer = zlib.compressobj(1, zlib.DEFLATED, window + 16 * (encoding == "gzip"), memory)
    return packer.compress(body) + packer.flush()


def chosen_encoding(accepted: str) -> str | None:
    """
    >>> chosen_encoding("br, deflate;q=0.5, gzip"), chosen_encoding("deflate, gzip;q=0")
    ('gzip', 'deflate')
    >>> chosen_encoding("identity") is None
    True
    """
    weights = {}
    for item in accepted.lower().split(","):
        name, _, parameters = item.partition(";")
        weight = parameters.strip().removeprefix("q=") or "1"
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            weights[name.strip()] = 0.0
    offered = [name for name in ("gzip", "deflate") if weights.get(name, weights.get("*", 0)) > 0]
    return max(offered, key=lambda name: weights.get(name, 0), default=None)


def too_large(size: int) -> TooLarge:
    return TooLarge(
        f"The body has {size} bytes or more; at most {MAX_BODY_BYTES} are read.",
        next_step="Send fewer rows per request.",
    )
