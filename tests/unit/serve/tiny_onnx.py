"""A small ONNX graph, written by hand: the library that writes them is no dependency of ours.

It scores as the toy model of conftest.py does, out of a table of 25 hours. An hour beyond it is a
row on which the graph itself fails.
"""

from __future__ import annotations

import struct

FLOAT, INT64, STRING = 1, 7, 8
INTEGER_ATTRIBUTE = 2


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _part(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _column(field: int, name: str, element: int, width: int) -> bytes:
    rows, columns = _part(1, _part(2, "rows")), _part(1, _number(1, width))
    tensor = _number(1, element) + _part(2, rows + columns)
    return _part(field, _part(1, name) + _part(2, _part(1, tensor)))


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> bytes:
    parts = [_part(1, name) for name in inputs] + [_part(2, output), _part(4, kind)]
    for name, value in attributes.items():
        given = _part(1, name) + _number(3, value) + _number(20, INTEGER_ATTRIBUTE)
        parts.append(_part(5, given))
    return _part(1, b"".join(parts))


def _floats(name: str, values: list[float], *, beside: str = "") -> bytes:
    """`beside`: the file that is said to hold them."""
    tensor = _number(1, len(values)) + _number(2, FLOAT) + _part(8, name)
    if beside:
        tensor += _part(13, _part(1, "location") + _part(2, beside)) + _number(14, 1)
    else:
        tensor += _part(9, struct.pack(f"<{len(values)}f", *values))
    return _part(5, tensor)


def make_graph(scale: float, *, offset: float = 0.0, beside: str = "") -> bytes:
    """[n, 2] probabilities of {hour, carrier, temp}: hour / 24 · scale + offset."""
    scores = [hour / 24 * scale + offset for hour in range(25)]
    graph = b"".join(
        [
            _node("Cast", ["hour"], "index", to=INT64),
            _node("Gather", ["table", "index"], "yes"),
            _node("Sub", ["one", "yes"], "no"),
            _node("Concat", ["no", "yes"], "probabilities", axis=1),
            _part(2, "tiny"),
            _floats("table", scores, beside=beside),
            _floats("one", [1.0]),
            _column(11, "hour", FLOAT, 1),
            _column(11, "carrier", STRING, 1),
            _column(11, "temp", FLOAT, 1),
            _column(12, "probabilities", FLOAT, 2),
        ]
    )
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 17))
