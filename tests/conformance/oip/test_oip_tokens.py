"""Stock clients with tokens: who is let in, who is not, and what both are told; over real ports."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
from tritonclient.utils import InferenceServerException

from seamline.domain.clock import iso
from seamline.domain.digests import digest_of
from seamline.serve.log.feedback import SCHEMA as FEEDBACK
from seamline.serve.log.tables import read_segments
from seamline.serve.snapshots.probes import HEADER, Probe, write_probe
from seamline.trust.access_list import (
    AccessEntry,
    AccessList,
    access_list_path,
    write_access_list,
)
from seamline.trust.keys import load_or_create_key

PAIR = {
    "inputs": [
        {"name": "a", "shape": [1], "datatype": "FP64", "data": [1.5]},
        {"name": "b", "shape": [1], "datatype": "FP64", "data": [1]},
    ]
}
SUMS, ECHO = "/v2/models/sums", "/v2/models/echo"
APP, OPS, LATE = "sl_app", "sl_ops", "sl_late"
#: When the tests were collected: those that run last are an hour and more later.
NOW = datetime.now(UTC)


def entry(token: str, name: str, *, hours: float = 24.0, **more: Any) -> AccessEntry:
    found = AccessEntry(
        name, digest_of(token.encode()), name, iso(NOW + timedelta(hours=hours)), None, None,
        ("predict", "read", "request_promotion"), {},
    )  # fmt: skip
    return dataclasses.replace(found, **more)


#: app asks sums in production; ops looks everywhere, and loads in staging; late has expired.
EVERYBODY = (
    entry(
        APP, "app", endpoints=("sums",), verbs=("predict",), granted={"predict": ("production",)}
    ),
    entry(OPS, "ops", granted={"read": None, "request_promotion": ("staging",)}),
    entry(LATE, "late", hours=-1.0, granted={"predict": None}),
)


class Guarded:
    """A plane that asks for tokens."""

    def __init__(self, served: Any, until: Callable[..., None]) -> None:
        self.served, self._until = served, until
        self.key = load_or_create_key(served.root / "keys")

    def write(self, version: int, *entries: AccessEntry, is_required: bool = True) -> None:
        found = AccessList(version, is_required, iso(NOW), entries)
        write_access_list(access_list_path(self.served.root), found, self.key)
        self.await_metric(f"seamline_access_list_version {version}\n")

    def await_metric(self, line: str) -> None:
        self._until(lambda: line in self.served.ask("GET", "/metrics")[1].decode())

    def ask(self, method: str, path: str, token: str | None, body: Any = b"") -> Any:
        """(status, JSON)."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.served.ask(method, path, body, **headers)[:2]


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[..., Any],
    wait_until: Callable[..., None],
) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guarded")
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    with serve(root, [*command, "--grpc-port", "0", "--require-tokens"]) as served:
        made = Guarded(served, wait_until)
        assert made.ask("POST", f"{SUMS}/infer", APP, PAIR)[0] == 503  # nobody has said who is who
        made.write(10, *EVERYBODY)
        yield made


def says(status: int, *texts: str) -> Any:
    """What (status, body) is compared with."""

    class Says:
        def __eq__(self, found: object) -> bool:
            assert isinstance(found, tuple)
            return found[0] == status and all(text in str(found[1]) for text in texts)

        def __repr__(self) -> str:
            return f"{status}: {texts}"

    return Says()


def test_who_is_let_in_and_who_is_not(guarded: Guarded) -> None:
    infer = f"{SUMS}/infer"
    assert guarded.ask("POST", infer, APP, PAIR)[1]["outputs"][0]["data"] == [2.5]
    rows = guarded.ask("POST", f"{SUMS}/predict", APP, {"a": 1, "b": 2})[1]
    assert rows["rows"][0]["outputs"] == {"sum": 3.0}
    truth = {"prediction_id": rows["prediction_id"], "truth": 3.0}
    assert guarded.ask("POST", f"{SUMS}/feedback", APP, truth)[0] == 200
    assert guarded.ask("GET", SUMS, APP)[0] == 200
    assert guarded.ask("GET", SUMS, OPS)[0] == 200
    no_token = says(401, "This request carries no token", "seamline token issue")
    for path in (infer, f"{SUMS}/predict", f"{SUMS}/feedback", "/v2/feedback",
                 "/v2/repository/index", "/v2/repository/models/sums/unload",
                 "/nowhere/v2/models/sums/infer"):  # fmt: skip
        assert guarded.ask("POST", path, None, PAIR) == no_token
    for path in (SUMS, f"{SUMS}/ready", "/openapi.json", "/staging/v2/models/sums"):
        assert guarded.ask("GET", path, None) == no_token
    assert guarded.ask("POST", infer, LATE, PAIR) == says(401, "of late expired at")
    assert guarded.ask("POST", infer, "sl_else", PAIR) == says(401, "not known here")
    assert guarded.ask("POST", infer, "x" * 10_000, PAIR) == says(401, "not known here")
    assert guarded.ask("POST", infer, OPS, PAIR) == says(
        403,
        "ops may not predict in production",
        "grant ops --role caller --in production",
    )
    assert guarded.ask("POST", f"{ECHO}/infer", APP, PAIR) == says(
        403, "app is for the endpoints sums", "echo in production", "--endpoint echo"
    )
    assert guarded.ask("POST", "/staging/v2/models/sums/infer", APP, PAIR) == says(
        403, "app may not predict in staging"
    )
    assert guarded.ask("POST", "/v2/feedback", APP, truth) == says(403, "every endpoint")
    assert guarded.ask("GET", f"{ECHO}/ready", APP)[0] == 403


def test_the_log_says_who_asked(guarded: Guarded, wait_until: Callable[..., None]) -> None:
    client = over_grpc.InferenceServerClient(guarded.served.grpc)
    guarded.ask("POST", f"{SUMS}/infer", APP, {**PAIR, "id": "who-http"})
    guarded.ask("POST", f"{SUMS}/predict", APP, {"rows": [{"a": 1}, {"a": 2}], "id": "who-rows"})
    client.infer("sums", tensors(over_grpc), request_id="who-grpc", headers=bearer(APP))
    client.close()
    expected = {("who-http", "app"), ("who-rows", "app"), ("who-grpc", "app")}

    def is_there() -> bool:
        rows = read_segments(guarded.served.root / "logs" / "predictions" / "production")
        rows = rows.filter(pl.col("request_id").str.starts_with("who-"))
        return set(rows.select("request_id", "principal").iter_rows()) == expected

    wait_until(is_there)


def test_feedback_says_who_sent_it(guarded: Guarded) -> None:
    said = {"id": "who-said", "truth": 1}
    assert guarded.ask("POST", f"{SUMS}/feedback", APP, said)[0] == 200
    rows = read_segments(guarded.served.root / "logs" / "feedback" / "production", FEEDBACK)
    rows = rows.filter(pl.col("request_id") == "who-said")
    assert rows.select("principal", "plane").rows() == [("app", None)]


def test_what_is_seen_is_what_may_be_asked(guarded: Guarded) -> None:
    def listed(token: str, where: str = "") -> list[str]:
        status, found = guarded.ask("POST", f"{where}/v2/repository/index", token)
        assert status == 200
        return [one["name"] for one in found]

    assert (listed(APP), listed(OPS)) == (["sums"], ["echo", "slow", "sums"])
    assert listed(OPS, "/staging") == ["sums"]
    assert guarded.ask("POST", "/staging/v2/repository/index", APP)[0] == 403
    paths = guarded.ask("GET", "/openapi.json", APP)[1]
    assert f"{SUMS}/infer" in paths["paths"]
    assert f"{ECHO}/infer" not in paths["paths"]
    assert paths["security"] == [{"token": []}]


def test_loading_takes_the_right_to_ask_for_a_promotion(guarded: Guarded) -> None:
    for move in ("unload", "load"):
        path = f"v2/repository/models/sums/{move}"
        assert guarded.ask("POST", f"/staging/{path}", OPS)[0] == 200
        assert guarded.ask("POST", f"/{path}", OPS) == says(403, "may not request promotion")
        assert guarded.ask("POST", f"/{path}", APP) == says(403, "--role releaser --in production")


def test_health_and_metrics_are_everybodys(guarded: Guarded) -> None:
    for path in ("/v2", "/v2/health/live", "/v2/health/ready", "/staging/v2/health/ready"):
        assert guarded.ask("GET", path, None)[0] == 200
        assert guarded.ask("GET", path, "sl_else")[0] == 200
    assert b"seamline_access_list_version" in guarded.ask("GET", "/metrics", None)[1]


@pytest.mark.parametrize(
    "header",
    [f"Basic {base64.b64encode(b'app').decode()}", "Basic é", f"Token {APP}", APP, "Bearer", ""],
)
def test_headers_that_hold_no_token(guarded: Guarded, header: str) -> None:
    status, body, headers = guarded.served.ask(
        "POST", f"{SUMS}/infer", PAIR, Authorization=header.encode()
    )
    assert (status, headers["www-authenticate"]) == (401, "Bearer")
    assert set(body) == {"error"}


def test_a_refused_body_is_thrown_away_and_the_connection_goes_on(guarded: Guarded) -> None:
    connection = http.client.HTTPConnection(guarded.served.http, timeout=120)
    for token, status in (("sl_else", 401), (APP, 200)):
        body = json.dumps({**PAIR, "id": "x" * 2_000_000}).encode()
        connection.request("POST", f"{SUMS}/infer", body, {"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        response.read()
        assert response.status == status
    connection.close()


def test_a_proxys_host_name_and_a_page_of_elsewhere(guarded: Guarded) -> None:
    """Without a token there is nothing that a page of another site could use."""
    strange = {"Host": "models.example.com", "Origin": "https://app.example.com"}
    ask = guarded.served.ask
    assert ask("POST", f"{SUMS}/infer", PAIR, **strange)[0] == 401
    assert ask("POST", f"{SUMS}/infer", PAIR, Authorization=f"Bearer {APP}", **strange)[0] == 200


def test_tritonclient_over_http(guarded: Guarded) -> None:
    client, headers = over_http.InferenceServerClient(guarded.served.http), bearer(APP)
    assert client.is_server_live()
    assert client.is_server_ready()
    found = client.infer("sums", tensors(over_http), headers=headers)
    assert found.as_numpy("sum").tolist() == [3.0]
    assert client.is_model_ready("sums", headers=headers)
    with pytest.raises(InferenceServerException, match="carries no token"):
        client.infer("sums", tensors(over_http))
    with pytest.raises(InferenceServerException, match="--endpoint echo"):
        client.infer("echo", tensors(over_http), headers=headers)
    client.close()


def test_tritonclient_over_grpc(guarded: Guarded) -> None:
    client = over_grpc.InferenceServerClient(guarded.served.grpc)
    mine, ops = bearer(APP), bearer(OPS)
    staging = {"seamline-environment": "staging"}
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata(as_json=True)["name"] == "seamline"
    found = client.infer("sums", tensors(over_grpc), headers=mine)
    assert found.as_numpy("sum").tolist() == [3.0]
    assert client.is_model_ready("sums", headers=mine)
    models = client.get_model_repository_index(headers=mine).models
    assert [one.name for one in models] == ["sums"]
    client.unload_model("sums", headers={**ops, **staging})
    client.load_model("sums", headers={**ops, **staging})
    calls: list[tuple[str, dict[str, str], str, Callable[[dict[str, str]], Any]]] = [
        ("UNAUTHENTICATED", {}, "no token", lambda h: infer(client, "sums", h)),
        ("UNAUTHENTICATED", bearer(LATE), "expired", lambda h: infer(client, "sums", h)),
        ("UNAUTHENTICATED", {}, "no token", lambda h: client.get_model_metadata("sums", headers=h)),
        ("UNAUTHENTICATED", {}, "no token", lambda h: client.is_model_ready("sums", headers=h)),
        ("UNAUTHENTICATED", {}, "no token", lambda h: client.get_model_repository_index(headers=h)),
        ("UNAUTHENTICATED", {}, "no token", lambda h: client.load_model("sums", headers=h)),
        ("PERMISSION_DENIED", mine, "echo in production", lambda h: infer(client, "echo", h)),
        ("PERMISSION_DENIED", {**mine, **staging}, "app may not predict in staging",
         lambda h: infer(client, "sums", h)),
        ("PERMISSION_DENIED", mine, "releaser", lambda h: client.unload_model("sums", headers=h)),
        ("PERMISSION_DENIED", ops, "--role caller", lambda h: infer(client, "sums", h)),
    ]  # fmt: skip
    for code, headers, text, call in calls:
        with pytest.raises(InferenceServerException, match=text) as caught:
            call(headers)
        assert caught.value.status() == f"StatusCode.{code}"
    client.close()


def test_kserves_clients(guarded: Guarded, environment: Callable[..., Path]) -> None:
    program = Path(__file__).with_name("client_kserve_token.py")
    command = [str(environment("kserve")), "-W", "ignore", str(program)]
    command += [f"http://{guarded.served.http}", guarded.served.grpc, APP]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.splitlines()[-1:] == ["all of it"], ended.stderr


def test_curl_with_a_token_as_header_and_as_password(guarded: Guarded) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed here")
    url = f"http://{guarded.served.http}{SUMS}/infer"
    status = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", json.dumps(PAIR), url]
    for options, wanted in (
        (["-H", f"Authorization: Bearer {APP}"], "200"),
        (["--oauth2-bearer", APP], "200"),
        (["-u", f"anyone:{APP}"], "200"),
        (["-u", "anyone:sl_else"], "401"),
        ([], "401"),
    ):
        assert subprocess.run([*status, *options], capture_output=True, text=True).stdout == wanted


def test_a_gate_asks_by_its_probe(guarded: Guarded) -> None:
    until = iso(datetime.now(UTC) + timedelta(minutes=5))
    probe = write_probe(Probe("production", digest_of(b"release"), until), guarded.key)
    ask = guarded.served.ask
    assert ask("POST", f"{SUMS}/infer", PAIR, **{HEADER: probe})[0] == 200
    assert ask("POST", f"{SUMS}/infer", PAIR, **{HEADER: "x"})[0] == 400
    assert ask("POST", f"{SUMS}/predict", PAIR, **{HEADER: probe})[0] == 401


def test_what_changes_is_taken_without_a_restart(guarded: Guarded) -> None:
    """Revoked, tampered with, opened, and with an older list put back."""
    try:
        good = guarded.ask("POST", f"{SUMS}/infer", APP, PAIR)
        assert good[0] == 200
        guarded.write(11, *EVERYBODY[1:])
        assert guarded.ask("POST", f"{SUMS}/infer", APP, PAIR) == says(401, "was revoked")
        path = access_list_path(guarded.served.root)
        tampered = path.with_name("tampered")
        tampered.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA'))
        tampered.replace(path)  # at once: half of it would be counted, too
        guarded.await_metric("seamline_access_list_failures_total 1\n")
        assert guarded.ask("GET", SUMS, OPS)[0] == 200
        assert guarded.ask("GET", SUMS, None)[0] == 401
    finally:
        guarded.write(12, *EVERYBODY)
    assert guarded.ask("POST", f"{SUMS}/infer", APP, PAIR)[0] == 200


def test_refusals_are_counted_under_no_strangers_name(guarded: Guarded) -> None:
    guarded.ask("POST", "/v2/models/made-up/infer", None, PAIR)
    text = guarded.ask("GET", "/metrics", None)[1].decode()
    assert 'endpoint="unknown",status="401"' in text
    assert "made-up" not in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_beyond_loopback_it_does_not_start_without_tokens(guarded: Guarded, workers: str) -> None:
    root = str(guarded.served.root / "other")
    command = [sys.executable, "-m", "seamline.dataplane", "--root", root, "--workers", workers]
    command += ["--host", "192.0.2.1"]  # nobody's: nothing is bound, should it be let
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--require-tokens" in ended.stderr


def test_several_processes_on_the_port_ask_alike(
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[..., Any],
    wait_until: Callable[..., None],
) -> None:
    root = tmp_path_factory.mktemp("several")
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    with serve(
        root, [*command, "--grpc-port", "0", "--workers", "2", "--require-tokens"]
    ) as served:
        several = Guarded(served, wait_until)
        several.write(1, *EVERYBODY)  # the lowest version of all is told
        assert {several.ask("GET", SUMS, OPS)[0] for _ in range(20)} == {200}
        several.write(2, *EVERYBODY[:1])
        assert {several.ask("GET", SUMS, OPS)[0] for _ in range(20)} == {401}
        assert several.ask("GET", SUMS, None)[0] == 401


def infer(client: Any, name: str, headers: dict[str, str]) -> Any:
    return client.infer(name, tensors(over_grpc), headers=headers)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def tensors(library: Any) -> list[Any]:
    made = []
    for name, value in (("a", 1.0), ("b", 2.0)):
        made.append(library.InferInput(name, [1], "FP64"))
        made[-1].set_data_from_numpy(np.array([value]))
    return made
