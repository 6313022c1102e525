"""Tracing that is not asked for, or asked for in vain, is nothing but a line in the log."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from seamline.serve.metrics import Metrics
from seamline.serve.tracing import start_tracing

ASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
NOTHING = """
import sys
from seamline import dataplane
from seamline.serve.metrics import Metrics
from seamline.serve.tracing import start_tracing

assert start_tracing({}, Metrics()) is None
print([name for name in sys.modules if name.split(".")[0] in ("opentelemetry", "requests")])
"""


def test_nothing_of_it_is_imported_where_nobody_asks() -> None:
    said = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, check=True)
    assert said.stdout.strip() == b"[]"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTLP over grpc is not known here"),
        ({"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json"}, "OTLP over http/json"),
    ],
)
def test_what_is_not_known_is_said(caplog, more, said) -> None:
    with caplog.at_level(logging.ERROR):
        assert start_tracing(ASKED | more, Metrics()) is None
    assert said in caplog.text


def test_without_the_extra_it_says_how_to_get_it(caplog, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.ERROR):
        assert start_tracing(ASKED, Metrics()) is None
    assert "pip install 'seamline[otel]'" in caplog.text


def test_variables_that_its_sdk_refuses_do_not_stop_the_start(caplog, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with caplog.at_level(logging.ERROR):
        assert start_tracing(ASKED, Metrics()) is None
    assert "did not start with its variables" in caplog.text


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "TRUE"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_it_is_switched_off_as_everywhere(off) -> None:
    assert start_tracing(ASKED | off, Metrics()) is None
