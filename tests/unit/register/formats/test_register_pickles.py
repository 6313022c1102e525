"""What loading a pickle would do is told from its bytes alone, and the dangerous parts by name."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import pickle
import pickletools
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from seamline.domain.errors import InvalidInput, Refused
from seamline.register.formats.kinds import ModelFormat
from seamline.register.formats.pickle_machine import trace_pickle
from seamline.register.formats.scan import check_admitted, check_findings, scan_model

ROWS = pd.DataFrame({"carrier": ["AA", "B6", "UA", "AA"] * 10, "hour": np.arange(40.0)})
LATE = np.arange(40) % 2
#: Set by a pickle that was loaded after all.
TOUCHED: list[str] = []


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, what: Any, *arguments: Any) -> None:
        self.reduced = (what, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def touch(what: str) -> str:
    TOUCHED.append(what)
    return what


def fitted() -> Any:
    encode = make_column_transformer((OneHotEncoder(), ["carrier"]), (StandardScaler(), ["hour"]))
    return make_pipeline(encode, LogisticRegression()).fit(ROWS, LATE)


def joblib_bytes(value: Any, compress: Any = 0) -> bytes:
    file = io.BytesIO()
    joblib.dump(value, file, compress=compress)
    return file.getvalue()


MODELS: list[Callable[[], Any]] = [
    fitted,
    lambda: HistGradientBoostingClassifier(max_iter=3).fit(ROWS[["hour"]], LATE),
    lambda: RandomForestClassifier(n_estimators=3, random_state=0).fit(ROWS[["hour"]], LATE),
    lambda: KNeighborsClassifier(algorithm="kd_tree").fit(ROWS[["hour"]], LATE),
]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_models_of_scikit_learn_keep_to_the_list(make: Callable[[], Any], protocol: int) -> None:
    found = scan_model(pickle.dumps(make(), protocol))
    assert (found.format, found.findings) == (ModelFormat.PICKLE, ())
    assert found.verdict == "arbitrary code"
    assert any(name.startswith("sklearn.") for name in found.globals)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)])
def test_joblib_s_arrays_are_stepped_over(make: Callable[[], Any], compress: Any) -> None:
    found = scan_model(joblib_bytes(make(), compress))
    assert (found.format, found.findings) == (ModelFormat.JOBLIB, ())
    assert "joblib.numpy_pickle.NumpyArrayWrapper" in found.globals


@pytest.mark.parametrize(
    "array",
    [
        np.arange(5),
        np.zeros((3, 4), np.float32, order="F"),
        np.array(7.5),
        np.array([], np.int8),
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.array(["2026-01-01"], "M8[D]"),
        np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array([{"a": 1}, "x"], object),
        np.arange(4, dtype=">i4"),
    ],
)
def test_arrays_of_any_type(array: Any) -> None:
    after = {"first": array, "then": collections.OrderedDict(b=array)}
    found = scan_model(joblib_bytes(after))
    assert "collections.OrderedDict" in found.globals
    assert found.findings == ()


def test_what_hides_behind_or_in_an_array_is_found() -> None:
    behind = [np.arange(3.0), Calls(touch, "behind")]
    inside = np.array([Calls(touch, "inside")], object)
    for value in (behind, inside):
        found = scan_model(joblib_bytes(value))
        assert [f"{__name__}.touch" in one for one in found.findings] == [True]
    assert TOUCHED == []


def by_hand(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


ATTACKS = {
    "os.system": pickle.dumps(Calls(__import__("os").system, "true")),
    "builtins.eval": pickle.dumps(Calls(eval, "1")),
    "subprocess.Popen": pickle.dumps(Calls(__import__("subprocess").Popen, ["true"])),
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "python 2 name": b"c__builtin__\neval\n(S'1'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "obj": by_hand(b"(", text("os"), text("system"), b"\x93", text("true"), b"o"),
    "getattr": pickle.dumps(Calls(getattr, "", "join")),
    "attribute path": by_hand(text("numpy"), text("lib.npyio.os.system"), b"\x93", b")R"),
    "made up name": by_hand(text("os"), b")", b"\x93", b")R"),
    "joined name": by_hand(
        text("builtins"), text("str"), b"\x93", b")R", text("system"), b"\x93", b")R"
    ),
    "memo": by_hand(text("os"), b"\x94", b"0", b"h\x00", text("system"), b"\x93", b")R"),
    "persistent id": b"Psomewhere\n.",
    "binary persistent id": by_hand(text("somewhere"), b"Q"),
    "extension": by_hand(b"\x82\x01"),
    "out of band": b"\x80\x05\x97.",
    "class changed": by_hand(text("numpy"), text("ndarray"), b"\x93", b"}", text("a"), b"Nsb"),
    "call of a call": by_hand(
        text("collections"), text("OrderedDict"), b"\x93", b")R", b")R"
    ),
    "nested": pickle.dumps({"weights": pickle.dumps(Calls(__import__("os").system, "true"))}),
    "twice": pickle.dumps(1) + pickle.dumps(Calls(__import__("os").system, "true")),
    "user code": pickle.dumps(Calls(touch, "x")),
    "numpy runs text": by_hand(
        text("numpy.testing._private.utils"), text("runstring"), b"\x93", b")R"
    ),
    "numpy loads": by_hand(text("numpy"), text("load"), b"\x93", text("x"), b"\x85R"),
    "sklearn fetches": by_hand(text("sklearn.datasets"), text("fetch_openml"), b"\x93", b")R"),
    "cloudpickle imports": by_hand(
        text("cloudpickle.cloudpickle"), text("subimport"), b"\x93", text("os"), b"\x85R"
    ),
    "cloudpickle imports what it makes up": by_hand(
        text("cloudpickle.cloudpickle"), text("subimport"), b"\x93", b")R"
    ),
}  # fmt: skip
NAMED = {
    "os.system": "system",
    "builtins.eval": "builtins.eval",
    "subprocess.Popen": "subprocess.Popen",
    "protocol 0": "os.system at byte 0 (dangerous)",
    "python 2 name": "__builtin__.eval",
    "inst": "os.system",
    "obj": "os.system",
    "getattr": "builtins.getattr",
    "attribute path": "numpy.lib.npyio.os.system at byte 30 (dangerous: a path through attributes)",
    "made up name": "a name that is made up while loading",
    "joined name": "a name that is made up while loading",
    "memo": "os.system",
    "persistent id": "PERSID",
    "binary persistent id": "BINPERSID",
    "extension": "EXT1 1",
    "out of band": "NEXT_BUFFER",
    "class changed": "BUILD changes numpy.ndarray",
    "call of a call": "a call of what the pickle itself made up",
    "nested": "a pickle inside of it: posix.system",
    "twice": "bytes follow its end",
    "user code": "touch",
    "numpy runs text": "runstring",
    "numpy loads": "numpy.load",
    "sklearn fetches": "sklearn.datasets.fetch_openml",
    "cloudpickle imports": "an import of the module os (dangerous)",
    "cloudpickle imports what it makes up": "whose name is made up",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_dangerous_parts_are_named(name: str) -> None:
    found = scan_model(ATTACKS[name])
    assert NAMED[name] in "; ".join(found.findings)
    with pytest.raises(Refused, match="would run arbitrary code"):
        check_findings(found, "late-arrival")
    assert TOUCHED == []


def test_functions_by_value_are_cloudpickle_s() -> None:
    limit = 3

    class Mine:
        def predict(self, rows: Any) -> Any:
            return [len(row) > limit for row in rows]

    found = scan_model(cloudpickle.dumps(Mine()))
    assert (found.format, found.findings) == (ModelFormat.CLOUDPICKLE, ())

    def sly() -> Any:
        return sys.modules

    [finding] = scan_model(cloudpickle.dumps(sly)).findings
    assert "an import of the module sys (dangerous)" in finding


def test_the_policy_has_to_list_the_format() -> None:
    for form in ("joblib", "pickle", "cloudpickle"):
        with pytest.raises(Refused, match=f"it is a {form} file") as caught:
            check_admitted(ModelFormat(form), (), "dataops", "late-arrival")
        assert f'[environments.dataops] formats = ["{form}"]' in caught.value.next_step
        check_admitted(ModelFormat(form), (form,), "dataops", "late-arrival")
    for form in ("skops", "xgboost", "lightgbm", "onnx"):
        check_admitted(ModelFormat(form), (), "dataops", "late-arrival")
    with pytest.raises(Refused, match="admits joblib"):
        check_admitted(ModelFormat.PICKLE, ("joblib",), "dataops", "late-arrival")


def test_skops_is_data() -> None:
    found = scan_model(skops.io.dumps(fitted()))
    assert (found.format, found.verdict) == (ModelFormat.SKOPS, "data")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"PNG", b".", b"..", b"\x80\x04", b"\x80\x04N", b"\x80\x04R.", b"\x80\x04h\x05."),
        *(b"\x80\x04\xff.", b"\x78\x9cno", b"\x1f\x8bno", b"BZhno", b"\x04\x22\x4d\x18"),
        zlib.compress(b"x"),
    ],
)
def test_what_is_no_model(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="of no format that is packaged"):
        scan_model(data)


def test_compression_is_read_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seamline.register.formats.scan.MAX_UNPACKED_BYTES", 1000)
    plain = pickle.dumps(bytes(10_000))
    for packed in (zlib.compress(plain), gzip.compress(plain), bz2.compress(plain)):
        with pytest.raises(InvalidInput, match="unpacks to more than 1,000 bytes"):
            scan_model(packed)
    with pytest.raises(InvalidInput, match="unpacks to more"):
        scan_model(lzma.compress(plain))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.tuples(inner, inner)
            | st.builds(collections.OrderedDict, st.dictionaries(st.text(), inner))
        ),
        max_leaves=12,
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_the_machine_agrees_with_python(value: Any, protocol: int) -> None:
    """It takes the globals that Python would, and no others."""
    data = pickle.dumps(value, protocol)
    seen: set[str] = set()

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            seen.add(f"{module}.{name}")
            return super().find_class(module, name)

    Watching(io.BytesIO(data)).load()
    assert {str(one) for one in trace_pickle(data).globals} == seen


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_any_bytes_are_scanned_or_refused(head: bytes, place: int, change: bytes) -> None:
    """Nothing but an answer: no other exception, and nothing is loaded."""
    good = bytearray(pickle.dumps(collections.OrderedDict(a=[1, (2, b"x")]), 4))
    place %= len(good)
    good[place : place + len(change)] = change
    for data in (head, b"\x80\x04" + head + b".", bytes(good)):
        try:
            scan_model(data)
        except InvalidInput:
            continue


def test_all_instructions_of_python_are_known() -> None:
    """A Python with a new one would have models that cannot be read, not ones that slip by."""
    handled = (
        Path(sys.modules[trace_pickle.__module__].__file__ or "").read_text().replace("\n", " ")
    )
    missing = [one.name for one in pickletools.opcodes if f'"{one.name}"' not in handled]
    assert missing == []
