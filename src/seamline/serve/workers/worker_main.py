"""A serving worker: one model in its own process, run by the model's own interpreter.

Standard library only (NumPy when the model brings it): this file is started as a plain script
with `-I`. It reads the wheel once, checks its digest, and imports the model from the very bytes
it has hashed (law 2): nothing on disk is looked at again.

Frames, both ways: u32 length of the header, u64 length of the body (little-endian), the header
(JSON), the body (the raw tensors one after another, or one matrix of all columns). stdin and
stdout are taken away from the model's code before it is imported, so that a print cannot break a
frame.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import math
import os
import signal
import struct
import sys
import traceback
import zipfile
from collections.abc import Sequence
from importlib.resources.abc import Traversable, TraversableResources
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

LENGTHS = struct.Struct("<IQ")
#: OIP datatype → struct format; text travels as JSON.
FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
PR_SET_PDEATHSIG = 1
TRACEBACK_CHARACTERS = 4000
#: The plane holds an answer in memory more than once, and nothing else answers meanwhile.
LARGEST_ANSWER_BYTES = 64 << 20

Header = dict[str, Any]


class DigestMismatch(Exception):
    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"expected {expected}, found {actual}")
        self.expected = expected
        self.actual = actual


class WheelImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds, loads and reads the data files of packages inside one wheel held in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.archive = zipfile.ZipFile(io.BytesIO(data))
        self.files = {entry.filename for entry in self.archive.infolist()}

    def file_of(self, fullname: str) -> tuple[str, bool]:
        """(file inside the wheel, whether it is a package); an empty name when it has none."""
        stem = fullname.replace(".", "/")
        for candidate, is_package in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if candidate in self.files:
                return candidate, is_package
        return "", False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        file, is_package = self.file_of(fullname)
        if not file:
            return None
        origin = f"{self.name}/{file}"
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=is_package)
        spec.has_location = True
        if is_package:
            spec.submodule_search_locations = [origin.rpartition("/")[0]]
        return spec

    def is_package(self, fullname: str) -> bool:
        return self.file_of(fullname)[1]

    def get_source(self, fullname: str) -> str:
        file, _ = self.file_of(fullname)
        if not file:
            raise ImportError(f"{self.name} holds no module {fullname}", name=fullname)
        return self.archive.read(file).decode()

    def get_data(self, path: str) -> bytes:
        """What pkgutil.get_data asks for: a path below the wheel's name."""
        inside = str(path).replace(os.sep, "/").removeprefix(f"{self.name}/")
        if inside not in self.files:
            raise FileNotFoundError(path)
        return self.archive.read(inside)

    def get_resource_reader(self, fullname: str) -> TraversableResources | None:
        """What importlib.resources asks for."""
        if not self.is_package(fullname):
            return None
        return PackageFiles(zipfile.Path(self.archive, fullname.replace(".", "/") + "/"))


class PackageFiles(TraversableResources):
    def __init__(self, folder: Traversable) -> None:
        self.folder = folder

    def files(self) -> Traversable:
        return self.folder


class Frames:
    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self.source = source
        self.sink = sink

    def read(self) -> tuple[Header, bytearray] | None:
        """(header, body), or None when the plane has closed its end."""
        lengths = self.source.read(LENGTHS.size)
        if len(lengths) < LENGTHS.size:
            return None
        header_length, body_length = LENGTHS.unpack(lengths)
        header = json.loads(self.source.read(header_length))
        return header, bytearray(self.source.read(body_length))

    def write(self, header: Header, body: bytes = b"") -> None:
        try:
            text = encode_header(header)
            check_size(len(text) + len(body))
        except Exception as error:  # what a model answers may be anything
            told = failure(error)
            told.update((name, header[name]) for name in ("id", "memory_bytes") if name in header)
            text, body = encode_header(told), b""
        self.sink.write(LENGTHS.pack(len(text), len(body)) + text)
        self.sink.write(body)
        self.sink.flush()


class Tensors:
    """Values between Python and raw bytes: NumPy where the model's environment has it."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("numpy") is not None
        self.numpy: Any = importlib.import_module("numpy") if found else None

    def decode(self, form: str, data: memoryview) -> Any:
        if self.numpy is not None:
            return self.numpy.frombuffer(data, dtype=form)
        return list(struct.unpack(f"={data.nbytes // struct.calcsize(f'={form}')}{form}", data))

    def encode(self, form: str, values: Any) -> tuple[list[int], bytes]:
        """(shape, bytes). TypeError when a value would lose its kind (a float for an integer)."""
        if self.numpy is not None:
            array = self.numpy.asarray(values).astype(form, casting="same_kind", copy=False)
            check_size(array.nbytes)
            return list(array.shape), array.tobytes()
        return [len(values)], struct.pack(f"={len(values)}{form}", *values)

    def of_column(self, values: list[Any], datatype: str) -> Any:
        """As the plane sends it: text as a list, numbers raw, a missing float as NaN."""
        form = FORMATS.get(datatype)
        if form is None or (None in values and form not in "efd"):
            return list(values)
        filled = [math.nan if value is None else value for value in values]
        return self.decode(form, memoryview(bytearray(self.encode(form, filled)[1])))

    def of_frame(
        self, header: Header, body: bytearray, inputs: Sequence[Sequence[str]] = ()
    ) -> dict[str, Any]:
        """`inputs`: (name, datatype) of the columns of a frame that is one matrix of floats."""
        if header.get("flat"):
            return self.of_matrix(body, [name for name, _ in inputs], header["rows"])
        columns = dict(header["json"])
        start = 0
        for name, datatype, size in header["raw"]:
            columns[name] = self.decode(FORMATS[datatype], memoryview(body)[start : start + size])
            start += size
        return columns

    def of_matrix(self, body: bytearray, names: list[str], rows: int) -> dict[str, Any]:
        """Row after row on the wire; each column's values side by side for the model."""
        values = self.decode("d", memoryview(body))
        if self.numpy is None:
            return {name: values[place :: len(names)] for place, name in enumerate(names)}
        return dict(
            zip(names, self.numpy.array(values.reshape(rows, -1).T, order="C"), strict=True)
        )


class Worker:
    """`start` is the plane's first frame: wheel_path, package_digest, module, inputs, outputs."""

    def __init__(self, start: Header) -> None:
        self.start = start
        self.tensors = Tensors()
        self.model: Any = None

    def load(self) -> Header:
        """Verify, import, warm and prove; returns the `ready` header."""
        data = Path(self.start["wheel_path"]).read_bytes()
        actual = "sha256:" + hashlib.sha256(data).hexdigest()
        if actual != self.start["package_digest"]:
            raise DigestMismatch(self.start["package_digest"], actual)
        importer = WheelImporter(self.start["wheel_path"], data)
        sys.meta_path.insert(0, importer)
        module = str(self.start["module"])
        # Imports make much that stays: searching it for garbage while it grows finds none.
        gc.disable()
        payload = f"{module.replace('.', '/')}/payload/model.skops"
        if payload in importer.files:
            beside("skops_trust").trust_what_it_names(importer.archive, payload)
        self.model = importlib.import_module(module).load()
        samples = f"{module.replace('.', '/')}/samples.json"
        rows: list[Header] = []
        if samples in importer.files:
            rows = self.prove(json.loads(importer.archive.read(samples)))
        gc.collect()
        gc.freeze()
        gc.enable()
        return {"op": "ready", "samples": len(rows), "probe": rows[0] if rows else None}

    def prove(self, samples: Header) -> list[Header]:
        """The model must say here what it said when it was packaged; returns the sample rows."""
        rows: list[Header] = samples["rows"]
        if not rows:
            return rows
        columns = {
            name: self.tensors.of_column([row.get(name) for row in rows], datatype)
            for name, datatype in self.start["inputs"]
        }
        header, body = self.answer(columns, len(rows))
        flat = {
            "json": header["json"],
            "raw": [[n, kind, size] for n, kind, size, _ in header["raw"]],
        }
        now = self.tensors.of_frame(flat, bytearray(body))
        for name, recorded in samples["outputs"].items():
            if name in now:
                compare_output(name, recorded, as_list(now[name]))
        return rows

    def answer(self, columns: dict[str, Any], rows: int) -> tuple[Header, bytes]:
        """The outputs that the signature promises, in its order and types, as one frame."""
        outputs = self.model.outputs(columns)
        raw: list[list[Any]] = []
        as_json: dict[str, list[Any]] = {}
        parts: list[bytes] = []
        for name, datatype in self.start["outputs"]:
            if name not in outputs:
                raise ValueError(
                    f"the model returned {', '.join(sorted(outputs)) or 'nothing'}; "
                    f"its signature promises {name}"
                )
            values = outputs[name]
            if len(values) != rows:
                raise ValueError(f"output {name} has {len(values)} rows for {rows} rows of input")
            form = FORMATS.get(datatype)
            if form is None:
                as_json[name] = as_texts(name, values)
                continue
            shape, data = self.tensors.encode(form, values)
            raw.append([name, datatype, len(data), shape])
            parts.append(data)
        return {"op": "outputs", "raw": raw, "json": as_json}, b"".join(parts)

    def serve(self, frames: Frames) -> None:
        while (frame := frames.read()) is not None:
            header, body = frame
            try:
                columns = self.tensors.of_frame(header, body, self.start["inputs"])
                reply = self.answer(columns, header["rows"])
            except BaseException as error:  # sys.exit() in a model ends no worker
                reply = (failure(error), b"")
            frames.write(*reply)


def beside(name: str) -> ModuleType:
    """A script of this folder, which is no place to import from: this one runs isolated."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py does not lie beside {__file__}.", name=name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def as_list(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def as_texts(name: str, values: Any) -> list[Any]:
    """What is missing (None, NaN) as None; TypeError for what is neither missing nor text.

    >>> as_texts("why", ["late", None, float("nan")])
    ['late', None, None]
    """
    texts = as_list(values)
    for row, value in enumerate(texts):
        if isinstance(value, str) or value is None:
            continue
        if not (isinstance(value, float) and math.isnan(value)):
            raise TypeError(f"output {name}, row {row}: a {type(value).__name__} where text is due")
        texts[row] = None
    check_size(sum(map(len, filter(None, texts))))
    return texts


def compare_output(name: str, recorded: list[Any], now: list[Any]) -> None:
    """Raises ValueError at the first row that differs (floats: by more than 1e-5 of the value)."""
    before, now = flatten(recorded), flatten(now)
    if len(before) != len(now):
        raise ValueError(f"output {name} of the sample rows: {len(before)} values, now {len(now)}")
    for row, (old, new) in enumerate(zip(before, now, strict=True)):
        if not is_same(old, new):
            raise ValueError(
                f"output {name} of sample row {row}: {old!r} when it was packaged, {new!r} here"
            )


def flatten(values: list[Any]) -> list[Any]:
    """
    >>> flatten([[1, 2], [3, 4]]), flatten([1, 2])
    ([1, 2, 3, 4], [1, 2])
    """
    return [value for row in values for value in (row if isinstance(row, list) else [row])]


def is_same(old: Any, new: Any) -> bool:
    """
    >>> is_same(0.1, 0.1000000001), is_same(None, float("nan")), is_same(1, 0), is_same("a", "a")
    (True, True, False, True)
    """
    if not isinstance(new, float):
        return bool(old == new)
    if old is None or math.isnan(old):
        return math.isnan(new)
    return math.isclose(old, new, rel_tol=1e-5, abs_tol=1e-8)


def failure(error: BaseException) -> Header:
    """Never raises: an error is the model's own, and may be unable to say what it is."""
    try:
        message = str(error)
        trace = "".join(traceback.format_exception(error))
    except BaseException as another:
        message = f"and cannot say why: its text raises {type(another).__name__}"
        trace = "".join(traceback.format_tb(error.__traceback__))
    header = {
        "op": "failed",
        "type": type(error).__name__,
        "message": sendable(message)[:TRACEBACK_CHARACTERS],
        "traceback": sendable(trace)[-TRACEBACK_CHARACTERS:],
    }
    if isinstance(error, DigestMismatch):
        header.update(expected=error.expected, actual=error.actual)
    return header


def encode_header(header: Header) -> bytes:
    """Raises for what the plane could not read: NaN, lone surrogates, what is no JSON."""
    return json.dumps(header, allow_nan=False, ensure_ascii=False).encode()


def sendable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def check_size(size: int) -> None:
    if size > LARGEST_ANSWER_BYTES:
        raise ValueError(
            f"it answered {size} bytes; {LARGEST_ANSWER_BYTES} are the most: ask for fewer rows"
        )


def take_standard_streams() -> Frames:
    """Private copies of stdin and stdout; user code sees an empty stdin, and prints to stderr.

    A process that the model forks has no part in them: it would take what is asked of us, and
    answer it a second time; and the plane could not see our end while it lives."""
    source, sink = os.dup(0), os.dup(1)
    empty, nothing = os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_WRONLY)
    os.dup2(empty, 0)
    os.dup2(2, 1)

    def leave_to_the_parent() -> None:
        os.dup2(empty, source, inheritable=False)
        os.dup2(nothing, sink, inheritable=False)

    os.register_at_fork(after_in_child=leave_to_the_parent)
    return Frames(os.fdopen(source, "rb", 1 << 16), os.fdopen(sink, "wb", 1 << 16))


def die_with_parent(parent: int) -> None:
    """Linux ends us with the plane, even while a prediction runs; elsewhere the end of stdin does,
    a moment later. (Tied to the plane's thread that started us: its main thread.)"""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    frames = take_standard_streams()
    first = frames.read()
    if first is None:
        return
    die_with_parent(first[0]["parent"])
    worker = Worker(first[0])
    try:
        ready = worker.load()
    except Exception as error:
        frames.write(failure(error))
        return
    frames.write(ready)
    worker.serve(frames)


if __name__ == "__main__":
    main()
