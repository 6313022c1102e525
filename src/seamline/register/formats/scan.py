"""What loading a model's bytes would do: its format, its verdict, and what it is refused for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from seamline.domain.errors import InvalidInput, Refused
from seamline.register.formats.kinds import (
    ARBITRARY_CODE,
    CODE_VERDICT,
    DATA_VERDICT,
    ModelFormat,
    sniff_format,
)
from seamline.register.formats.pickle_machine import (
    ARRAY_WRAPPER,
    Global,
    Made,
    Trace,
    Unreadable,
    trace_pickle,
)
from seamline.register.formats.pickle_rules import IMPORTER, is_dangerous_module, why_refused

#: A small compressed file must not fill memory.
MAX_UNPACKED_BYTES = 2 << 30
#: Of many findings, so many are named.
_NAMED = 6


@dataclass(frozen=True)
class Scan:
    format: ModelFormat
    #: Of the pickled formats: every name that loading imports, sorted.
    globals: tuple[str, ...] = ()
    #: Sentences; empty when nothing is found, which is no proof of anything.
    findings: tuple[str, ...] = ()

    @property
    def runs_code(self) -> bool:
        return self.format in ARBITRARY_CODE

    @property
    def verdict(self) -> str:
        return CODE_VERDICT if self.runs_code else DATA_VERDICT

    def to_json(self) -> dict[str, Any]:
        """`loading` in model.json."""
        return {"verdict": self.verdict, "globals": list(self.globals)}


def scan_model(data: bytes) -> Scan:
    """Reads, and loads nothing. InvalidInput for bytes of no known format.

    >>> import pickle
    >>> found = scan_model(pickle.dumps(print))
    >>> found.verdict, found.findings
    ('arbitrary code', ('builtins.print at byte 30 (dangerous)',))
    """
    form = sniff_format(data)
    if form is None:
        raise _unknown("it begins like none of them")
    if form not in ARBITRARY_CODE:
        return Scan(form)
    try:
        is_packed = form is ModelFormat.JOBLIB
        trace = trace_pickle(_unpack(data) if is_packed else data)
    except Unreadable as error:
        raise _unknown(f"as a pickle it cannot be read ({error})") from error
    form = ModelFormat.JOBLIB if is_packed else _pickled_format(trace)
    names = tuple(sorted(map(str, trace.globals)))
    return Scan(form, names, tuple(_findings(trace, form)))


def check_findings(scan: Scan, what: str) -> None:
    """Refused for what the scan found, wherever the format is admitted, too."""
    if not scan.findings:
        return
    more = len(scan.findings) - _NAMED
    named = "; ".join(scan.findings[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
    raise Refused(
        f"Loading {what} would run arbitrary code, and this {scan.format} file holds: {named}.",
        next_step="Write the model with skops.io.dump, or in its framework's own format "
        "(XGBoost, LightGBM, ONNX).",
    )


def check_admitted(
    form: ModelFormat, admitted: Collection[str], environment: str, what: str
) -> None:
    """Refused where loading runs code and the environment's policy does not list the format."""
    if form not in ARBITRARY_CODE or form in admitted:
        return
    listed = ", ".join(sorted(admitted)) or "no format that does"
    raise Refused(
        f"Loading {what} would run arbitrary code: it is a {form} file, and the policy of "
        f"{environment} admits {listed}.",
        next_step="Write it with skops.io.dump or in its framework's own format; or let the "
        f'platform admit it: [environments.{environment}] formats = ["{form}"].',
    )


def check_described(document: Mapping[str, Any], payload: bytes) -> None:
    """A pickled payload is what model.json says of it: its format, and all that it imports."""
    if document["format"] not in ARBITRARY_CODE:
        return
    scan = scan_model(payload)
    what = f"{document['name']} {document['version']}"
    check_findings(scan, what)
    if scan.format != document["format"] or list(scan.globals) != document["loading"]["globals"]:
        raise InvalidInput(
            f"model.json of {what} does not describe its payload: a {scan.format} file that "
            f"imports {', '.join(scan.globals)}."
        )


def _pickled_format(trace: Trace) -> ModelFormat:
    if any(str(one) == ARRAY_WRAPPER for one in trace.globals):
        return ModelFormat.JOBLIB
    if any(one.module.partition(".")[0] == "cloudpickle" for one in trace.globals):
        return ModelFormat.CLOUDPICKLE
    return ModelFormat.PICKLE


def _findings(trace: Trace, form: ModelFormat) -> list[str]:
    found = [
        (position, f"{one} at byte {position} ({why})")
        for one, position in trace.globals.items()
        if (why := why_refused(one, form))
    ]
    found += [(position, f"{what} at byte {position}") for position, what in trace.odd]
    for call in trace.calls:
        if isinstance(call.what, Global):
            why = _why_no_import(call.what, call.arguments)
        elif form is ModelFormat.CLOUDPICKLE and isinstance(call.what, Made):
            why = ""  # a class or function by value, which is what the format is for
        else:
            why = "a call of what the pickle itself made up"
        if why:
            found.append((call.position, f"{why} at byte {call.position}"))
    return [sentence for _, sentence in sorted(found)]


def _why_no_import(what: Global, arguments: Any) -> str:
    """cloudpickle keeps a module as its name, and imports it."""
    if what.module.partition(".")[0] != "cloudpickle" or what.name != IMPORTER:
        return ""
    name = arguments[0] if isinstance(arguments, tuple) and arguments else None
    if not isinstance(name, str):
        return "an import of a module whose name is made up while loading"
    return f"an import of the module {name} (dangerous)" if is_dangerous_module(name) else ""


def _unpack(data: bytes) -> bytes:
    """As joblib does, but for LZ4, which is no part of Python."""
    try:
        if data[:1] == b"\x78":
            unpacked = zlib.decompressobj().decompress(data, MAX_UNPACKED_BYTES + 1)
        else:
            with _opened(data) as file:
                unpacked = file.read(MAX_UNPACKED_BYTES + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise _unknown(f"it cannot be decompressed ({error})") from error
    if len(unpacked) > MAX_UNPACKED_BYTES:
        raise _unknown(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
    return unpacked


def _opened(data: bytes) -> BinaryIO | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    file = io.BytesIO(data)
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if data.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if data.startswith(b"\x04\x22\x4d\x18"):
        raise _unknown("LZ4 cannot be read here; compress with zlib")
    return lzma.LZMAFile(file)


def _unknown(why: str) -> InvalidInput:
    return InvalidInput(
        f"The model's bytes are of no format that is packaged: {why}.",
        next_step="Write it with skops.io.dump(model, path), with XGBoost's or LightGBM's own "
        "save_model, or as ONNX.",
    )
