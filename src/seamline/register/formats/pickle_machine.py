"""Play a pickle without doing what it says: which globals it takes, what it calls, and where.

The same stack, marks and memo as in CPython's Unpickler, but a global stays a name and a call a
note of it. Nothing is imported, and no object of the file is made. joblib writes the bytes of
arrays between the instructions: they are skipped by the shape and type that come before them.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, BinaryIO, cast

#: joblib's note that an array's bytes follow.
ARRAY_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
MAX_NESTED = 4
_BUFFER_BYTES = 1 << 16
#: Of bytes in a pickle, so many are remembered.
_KEPT_BYTES = 1 << 10
_DTYPE = "numpy.dtype"
_CONSTANTS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE"}
    | {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_FIXED: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = frozenset({"PROTO", "FRAME", "READONLY_BUFFER"})


@dataclass(frozen=True)
class Global:
    """A name that unpickling would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Made:
    """What a call would have given."""

    by: Any
    arguments: Any
    state: Any = None


@dataclass(frozen=True)
class Call:
    position: int
    #: A Global, or what the pickle itself made up.
    what: Any
    arguments: Any


@dataclass
class Trace:
    """Positions are bytes from the file's start, uncompressed."""

    globals: dict[Global, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    #: (position, what is wrong): instructions that no model needs.
    odd: list[tuple[int, str]] = field(default_factory=list)


class Unreadable(ValueError):
    """No pickle, a cut one, or one that Python would not read either."""


_MARK = object()


def trace_pickle(data: bytes | IO[bytes]) -> Trace:
    """Raises Unreadable. `data` is one whole pickle, as a file holds it, or that file.

    Of a file no more than one constant is in memory at a time, but for small ones.

    >>> import pickle, collections
    >>> [str(one) for one in trace_pickle(pickle.dumps(collections.OrderedDict(a=1))).globals]
    ['collections.OrderedDict']
    """
    if isinstance(data, bytes):
        return _trace(io.BytesIO(data), len(data))
    size = data.seek(0, io.SEEK_END)
    data.seek(0)
    # Instructions are of one byte, and a file may ask the operating system for each.
    buffered = io.BufferedReader(cast(io.RawIOBase, data), _BUFFER_BYTES)
    try:
        return _trace(buffered, size)
    finally:
        buffered.detach()


def _trace(file: BinaryIO, size: int) -> Trace:
    trace = Trace()
    _Machine(file, size, trace, 0).run()
    if file.tell() != size:
        trace.odd.append((file.tell(), f"{size - file.tell()} bytes follow its end"))
    return trace


class _Machine:
    def __init__(self, file: BinaryIO, size: int, trace: Trace, depth: int) -> None:
        if depth > MAX_NESTED:
            raise Unreadable(f"pickles nested more than {MAX_NESTED} deep")
        self._file, self._size, self._trace, self._depth = file, size, trace, depth
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        try:
            for name, argument, position in self._read():
                if name == "STOP":
                    return self._stack.pop()
                self._step(name, argument, position)
        except Unreadable:
            raise
        except (ValueError, IndexError, KeyError, TypeError, struct.error, OverflowError) as error:
            raise Unreadable(f"no sound pickle: {error}") from error
        raise Unreadable("it has no end")

    def _read(self) -> Iterator[tuple[str, Any, int]]:
        for opcode, argument, position in pickletools.genops(self._file):
            yield opcode.name, argument, position or 0

    def _step(self, name: str, argument: Any, position: int) -> None:
        if name in _NOTHING:
            return
        if name in _CONSTANTS:
            if isinstance(argument, bytes | bytearray):
                self._look_inside(bytes(argument), position)
                # No rule asks for what an array holds.
                argument = argument[:_KEPT_BYTES]
            self._stack.append(argument)
        elif name in _FIXED:
            self._stack.append(_FIXED[name]())
        elif name in _TUPLES:
            self._stack.append(tuple(self._pop_many(_TUPLES[name])))
        elif not (self._arrange(name) or self._remember(name, argument)):
            self._act(name, argument, position)

    def _arrange(self, name: str) -> bool:
        """Instructions that only move values about."""
        stack = self._stack
        match name:
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self._pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "LIST" | "FROZENSET":
                stack.append(self._pop_to_mark())
            case "DICT":
                stack.append(_pairs(self._pop_to_mark()))
            case "APPEND":
                self._extend([stack.pop()])
            case "APPENDS" | "ADDITEMS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop_many(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case _:
                return False
        return True

    def _remember(self, name: str, argument: Any) -> bool:
        if name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[int(argument)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[int(argument)])
        else:
            return False
        return True

    def _act(self, name: str, argument: Any, position: int) -> None:
        """Instructions that import, call or fetch."""
        match name:
            case "GLOBAL" | "INST":
                module, _, attribute = str(argument).partition(" ")
                found = self._take(module, attribute, position)
                called = name == "INST"
                made = self._call(found, self._pop_to_mark(), position) if called else found
                self._stack.append(made)
            case "STACK_GLOBAL":
                module, attribute = self._pop_many(2)
                self._stack.append(self._take(module, attribute, position))
            case "REDUCE" | "NEWOBJ":
                what, arguments = self._pop_many(2)
                self._stack.append(self._call(what, arguments, position))
            case "NEWOBJ_EX":
                what, arguments, named = self._pop_many(3)
                self._stack.append(self._call(what, (arguments, named), position))
            case "OBJ":
                what, *given = self._pop_to_mark()
                self._stack.append(self._call(what, given, position))
            case "BUILD":
                self._build(position)
            case _:
                self._note_odd(name, argument, position)

    def _note_odd(self, name: str, argument: Any, position: int) -> None:
        if name in ("PERSID", "BINPERSID"):
            self._odd(position, f"{name} asks the reader for an object from elsewhere")
            if name == "BINPERSID":
                self._stack.pop()
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._odd(position, f"{name} {argument} takes whatever is registered under a number")
        elif name == "NEXT_BUFFER":
            self._odd(position, "NEXT_BUFFER takes bytes that are not in the file")
        else:
            raise Unreadable(f"the instruction {name} at byte {position} is unknown")
        self._stack.append(Made(name, ()))

    def _take(self, module: Any, name: Any, position: int) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            self._odd(position, "STACK_GLOBAL takes a name that is made up while loading")
            return Made("STACK_GLOBAL", ())
        found = Global(module, name)
        self._trace.globals.setdefault(found, position)
        return found

    def _call(self, what: Any, arguments: Any, position: int) -> Made:
        self._trace.calls.append(Call(position, what, arguments))
        return Made(what, arguments)

    def _build(self, position: int) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Global):
            self._odd(position, f"BUILD changes {target} itself")
        if not isinstance(target, Made):
            return
        target.state = state
        if isinstance(target.by, Global) and str(target.by) == ARRAY_WRAPPER:
            self._skip_array(state)

    def _skip_array(self, state: Any) -> None:
        """As joblib.numpy_pickle.NumpyArrayWrapper.read_array moves on."""
        if not isinstance(state, dict):
            raise Unreadable("joblib's note of an array says nothing of it")
        size = _item_bytes(state.get("dtype"))
        if size is None:
            _Machine(self._file, self._size, self._trace, self._depth + 1).run()
            return
        if state.get("numpy_array_alignment_bytes") is not None:
            self._file.seek(int.from_bytes(self._file.read(1), "little"), io.SEEK_CUR)
        end = self._file.tell() + size * math.prod(int(n) for n in state.get("shape", ()))
        if not self._file.tell() <= end <= self._size:
            raise Unreadable("an array ends where the file does not")
        self._file.seek(end)

    def _look_inside(self, data: bytes, position: int) -> None:
        """Bytes that are a pickle themselves: for whoever unpickles them."""
        if len(data) < 4 or data[0] != 0x80 or data[1] > 5 or data[-1:] != b".":
            return
        inner = Trace()
        try:
            _Machine(io.BytesIO(data), len(data), inner, self._depth + 1).run()
        except Unreadable:
            return
        if inner.globals or inner.odd:
            names = ", ".join(map(str, inner.globals)) or inner.odd[0][1]
            self._odd(position, f"a pickle inside of it: {names}")

    def _odd(self, position: int, what: str) -> None:
        self._trace.odd.append((position, what))

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(values)

    def _update(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], dict):
            self._stack[-1].update(_pairs(values))

    def _pop_many(self, count: int) -> list[Any]:
        values = self._stack[-count:]
        if len(values) < count or _MARK in values:
            raise Unreadable("it takes more than there is")
        del self._stack[-count:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """Keys that are no constants are left out: nothing is looked up by them."""
    keys = zip(values[::2], values[1::2], strict=True)
    return {key: value for key, value in keys if isinstance(key, str | int)}


def _item_bytes(dtype: Any) -> int | None:
    """Of one element, from how numpy.dtype pickles itself; None for Python objects."""
    if not (isinstance(dtype, Made) and str(dtype.by) == _DTYPE):
        raise Unreadable("an array is of a type that cannot be told")
    text, state = str(dtype.arguments[0]), dtype.state
    kind = text.lstrip("<>|=")
    if kind.startswith("O") or (isinstance(state, tuple) and len(state) > 7 and state[7] & 1):
        return None
    if isinstance(state, tuple) and len(state) > 5 and state[5] > 0:
        return int(state[5])
    digits = "".join(letter for letter in kind[1:].partition("[")[0] if letter.isdigit())
    if not digits:
        raise Unreadable(f"an array is of the unknown type {text!r}")
    return int(digits)
