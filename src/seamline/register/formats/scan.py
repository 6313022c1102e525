"""What loading a model's bytes would do: its format, its verdict, and what it is refused for."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import IO, Any

from seamline.domain.errors import InvalidInput, Refused
from seamline.register.formats.kinds import (
    ARBITRARY_CODE,
    CODE_VERDICT,
    DATA_VERDICT,
    HEAD_BYTES,
    PICKLED,
    ModelFormat,
    sniff_format,
)
from seamline.register.formats.model_code import ModelCode
from seamline.register.formats.pickle_machine import (
    ARRAY_WRAPPER,
    Global,
    Made,
    Trace,
    Unreadable,
    trace_pickle,
)
from seamline.register.formats.pickle_rules import IMPORTER, is_dangerous_module, why_refused
from seamline.register.formats.unpacking import BROKEN, NotReadHere, open_packed, unpacked_size

#: A small compressed file must not keep this server busy.
MAX_UNPACKED_BYTES = 2 << 30
#: Of many findings, so many are named.
_NAMED = 6
_KEEP_TO_THE_MODULE = "Leave in model.py what builds the module, and nothing else."
_WRITE_ANOTHER = "Write it with skops.io.dump or in its framework's own format"


@dataclass(frozen=True)
class Scan:
    format: ModelFormat
    #: Of pickles every name that loading imports, of source every module; sorted.
    globals: tuple[str, ...] = ()
    #: Sentences; empty when nothing is found, which is no proof of anything.
    findings: tuple[str, ...] = ()
    #: Source that goes with the bytes, where the format has any.
    code: ModelCode | None = None

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
    return scan_file(io.BytesIO(data))


def scan_file(file: IO[bytes]) -> Scan:
    """The same of an open file, however large: in memory are its pickle's numbers and texts, and
    of arrays one at a time at most.

    >>> scan_file(io.BytesIO(b"tree\\nversion=v4" + bytes(10_000))).format
    <ModelFormat.LIGHTGBM: 'lightgbm'>
    """
    form = sniff_format(_ends(file))
    if form is None:
        raise _unknown("it begins like none of them")
    if form is ModelFormat.TORCH_STATE:
        raise _no_code()
    if form not in PICKLED:
        return Scan(form)
    try:
        is_packed = form is ModelFormat.JOBLIB
        trace = _trace_packed(file) if is_packed else trace_pickle(file)
    except Unreadable as error:
        raise _unknown(f"as a pickle it cannot be read ({error})") from error
    form = ModelFormat.JOBLIB if is_packed else _pickled_format(trace)
    names = tuple(sorted(map(str, trace.globals)))
    return Scan(form, names, tuple(_findings(trace, form)))


def _ends(file: IO[bytes]) -> bytes:
    """How it begins, and its last byte. At its beginning again."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(HEAD_BYTES, size - 1))
    last = file.read(1)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return head + last


def check_findings(scan: Scan, what: str) -> None:
    """Refused for what the scan found, wherever the format is admitted, too."""
    if not scan.findings:
        return
    is_source = scan.format is ModelFormat.TORCH_STATE
    more = len(scan.findings) - _NAMED
    named = "; ".join(scan.findings[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
    raise Refused(
        f"Loading {what} would run arbitrary code, and this {scan.format} file holds: {named}.",
        next_step=_KEEP_TO_THE_MODULE if is_source else _WRITE_ANOTHER + " (XGBoost, ONNX, …).",
    )


def check_admitted(
    form: ModelFormat, admitted: Collection[str], environment: str, what: str
) -> None:
    """Refused where loading runs code and the environment's policy does not list the format."""
    if form not in ARBITRARY_CODE or form in admitted:
        return
    listed = ", ".join(sorted(admitted)) or "no format that does"
    is_source = form is ModelFormat.TORCH_STATE
    before = "Read its source, and" if is_source else f"{_WRITE_ANOTHER}; or"
    raise Refused(
        f"Loading {what} would run arbitrary code: it is a {form} file, and the policy of "
        f"{environment} admits {listed}.",
        next_step=f"{before} let the platform admit it: "
        f'[environments.{environment}] formats = ["{form}"], in the file that declares the '
        "environments.",
    )


def check_described(document: Mapping[str, Any], payload: IO[bytes]) -> None:
    """A pickled payload is what model.json says of it: its format, and all that it imports."""
    if document["format"] not in PICKLED:
        return
    scan = scan_file(payload)
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


def _trace_packed(file: IO[bytes]) -> Trace:
    try:
        with open_packed(file) as plain:
            if unpacked_size(plain, MAX_UNPACKED_BYTES) > MAX_UNPACKED_BYTES:
                raise _unknown(f"it unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
            return trace_pickle(plain)
    except NotReadHere as error:
        raise _unknown(str(error)) from error
    except BROKEN as error:
        raise _unknown(f"it cannot be decompressed ({error})") from error


def _no_code() -> InvalidInput:
    return InvalidInput(
        "The model is the state of a PyTorch module, and nothing says which module.",
        next_step="Write a folder with state.safetensors, model.py (def build_model(**settings)) "
        'and settings.json ({"task": "regression"}).',
    )


def _unknown(why: str) -> InvalidInput:
    return InvalidInput(
        f"The model's bytes are of no format that is packaged: {why}.",
        next_step="Write it with skops.io.dump(model, path), with XGBoost's or LightGBM's own "
        "save_model, or as ONNX.",
    )
