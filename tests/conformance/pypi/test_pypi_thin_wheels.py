"""Thin wheels over a real port: pip and uv install one into a clean environment, it fetches its
payload by digest, or answers by API."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from seamline_loader import EndpointError
from seamline_loader.remote import RemoteModel

from seamline.domain.digests import digest_of
from seamline.register.models import loading
from seamline.register.models.catalogue import ModelVersion
from seamline.register.models.thin_wheels import find_payload
from seamline.serve.snapshots.snapshot import (
    Column,
    EndpointSpec,
    ServingSnapshot,
    Signature,
    snapshot_path,
    write_snapshot,
)
from seamline.trust.keys import load_or_create_key

Run = Callable[..., subprocess.CompletedProcess[str]]
TOOLS = Path(sys.executable).parent
PIP = (sys.executable, "-m", "pip", "--python")
JSON = {"accept": "application/vnd.pypi.simple.v1+json"}
ROWS = [{"x": 0.0, "name": "a"}, {"x": 3.0, "name": "b"}, {"x": 1.2, "name": "c"}]
#: Prints how rows are scored, whether the framework is there and a cached payload was opened.
PREDICT = """
import json, sys
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
import late_arrival
assert late_arrival.__file__.startswith(sys.prefix)
model = late_arrival.load()
rows = json.loads(sys.argv[1])
print(json.dumps({
    "version": model.version,
    "labels": model.predict(rows).tolist(),
    "scores": model.predict_proba(rows).tolist(),
    "skops": "skops" in sys.modules,
    "payload": any("/sha256/" in path for path in opened),
}))
"""


def thin(index: Any, environment: str = "dataops") -> str:
    return str(index.simple(environment)).replace("/simple/", "/thin/simple/")


def payloads(index: Any, environment: str = "dataops") -> str:
    return f"{index.url}/pypi/{environment}/payloads"


@pytest.fixture
def predict(run: Run, equipped: Path, tmp_path: Path) -> Callable[..., Any]:
    def _predict(check: bool = True, **settings: str) -> Any:
        variables = {"SEAMLINE_PAYLOAD_CACHE": str(tmp_path / "cache"), **settings}
        words = ["env", *(f"{name}={value}" for name, value in variables.items())]
        ran = run(*words, equipped, "-c", PREDICT, json.dumps(ROWS), check=check)
        return json.loads(ran.stdout) if check else ran.stderr

    return _predict


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_installed_with_its_dependencies_it_predicts_as_the_fat_one(
    tool: str,
    index: Any,
    upstream: Any,
    model: ModelVersion,
    equipped: Path,
    predict: Callable[..., Any],
    run: Run,
) -> None:
    """pip finds the libraries there; uv, which looks into the environment alone, is asked for the
    two wheels only. Neither ever asks anybody else for the loader."""
    pip = (*PIP, equipped, "install")
    uv = (TOOLS / "uv", "pip", "install", "--no-deps", "--python", equipped, "seamline-loader")
    install = pip if tool == "pip" else uv
    run(*install, "--index-url", thin(index), "late-arrival==1.0.0")
    assert not any("seamline-loader" in path for path in upstream.asked)
    answers = predict(SEAMLINE_PAYLOADS=payloads(index))
    assert (answers["version"], answers["labels"]) == ("1.0.0", [0, 1, 0])
    assert (answers["skops"], answers["payload"]) == (True, True)
    # Now it is here: nothing has to say where payloads are.
    assert predict() == answers
    run(*PIP, equipped, "uninstall", "-y", "late-arrival", "seamline-loader")
    run(*PIP, equipped, "install", "--no-deps", "--index-url", index.simple(), "late-arrival")
    fat = predict()
    assert (fat["labels"], fat["scores"]) == (answers["labels"], answers["scores"])


def test_pages_and_files(index: Any, model: ModelVersion, tmp_path: Path) -> None:
    page = httpx.get(thin(index) + "Late_Arrival/", headers=JSON, follow_redirects=True)
    assert page.headers["content-type"] == JSON["accept"]
    [file] = page.json()["files"]
    url = page.url.join(file["url"])
    assert "/thin/files/" in str(url)
    data = httpx.get(url).content
    assert digest_of(data) == "sha256:" + file["hashes"]["sha256"]
    assert len(data) == file["size"] < 20_000
    metadata = httpx.get(f"{url}.metadata").content
    assert digest_of(metadata) == "sha256:" + file["core-metadata"]["sha256"]
    (tmp_path / "thin.whl").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "thin.whl") as archive:
        document = json.loads(archive.read("late_arrival/model.json"))
    assert document["payload_digest"] == model.payload_digest
    fat = httpx.get(index.simple() + "late-arrival/", headers=JSON).json()["files"][0]
    assert fat["filename"] == file["filename"]
    assert fat["hashes"] != file["hashes"]
    names = [one["name"] for one in httpx.get(thin(index), headers=JSON).json()["projects"]]
    assert names == ["late-arrival", "seamline-loader"]
    # Each environment's index has what was promoted there, thin or fat, and the loader.
    assert httpx.get(thin(index, "staging") + "late-arrival/").status_code == 404
    loader = httpx.get(thin(index, "staging") + "seamline-loader/", follow_redirects=True)
    assert loader.status_code == 200
    elsewhere = httpx.get(thin(index) + "small-library/", follow_redirects=False)
    regular = elsewhere.url.join(elsewhere.headers["location"])
    assert str(regular) == index.simple() + "small-library/"


def test_payloads_in_ranges(index: Any, model: ModelVersion) -> None:
    name = model.payload_digest.removeprefix("sha256:")
    url = f"{payloads(index)}/{name}"
    whole = httpx.get(url)
    assert digest_of(whole.content) == model.payload_digest
    part = httpx.get(url, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    assert httpx.get(f"{payloads(index)}/{model.payload_digest}").content == whole.content
    assert httpx.head(url).headers["content-length"] == str(len(whole.content))
    assert httpx.get(f"{payloads(index, 'staging')}/{name}").status_code == 404
    assert httpx.get(f"{payloads(index)}/{'0' * 64}").status_code == 404
    assert httpx.get(f"{payloads(index)}/..%2Fsecret").status_code in (400, 404)
    assert httpx.get(url, headers={"authorization": "Bearer wrong"}).status_code == 401


def test_refusals_say_what_to_do(
    index: Any,
    model: ModelVersion,
    equipped: Path,
    predict: Callable[..., Any],
    run: Run,
    tmp_path: Path,
) -> None:
    install = (*PIP, equipped, "install", "--no-deps", "--index-url", thin(index))
    run(*install, "late-arrival", "seamline-loader")
    assert "Set SEAMLINE_PAYLOADS" in predict(check=False)
    told = predict(check=False, SEAMLINE_PAYLOADS=payloads(index), SEAMLINE_TOKEN="wr0ng")
    assert "Set SEAMLINE_TOKEN" in told
    assert "wr0ng" not in told
    told = predict(check=False, SEAMLINE_PAYLOADS=payloads(index, "staging"))
    assert f"has no payload {model.payload_digest}" in told
    # What the store holds is not what was registered: the server refuses to send it.
    index.stores.blobs.path_of(model.payload_digest).parent.mkdir(parents=True, exist_ok=True)
    index.stores.blobs.path_of(model.payload_digest).write_bytes(b"altered")
    told = predict(check=False, SEAMLINE_PAYLOADS=payloads(index))
    assert "WrongBytes" in told
    assert model.payload_digest in told
    assert digest_of(b"altered") in told
    # A folder is no server: the loader itself finds it, and names both digests.
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / model.payload_digest[7:]).write_bytes(b"altered")
    told = predict(check=False, SEAMLINE_PAYLOADS=str(folder))
    assert model.payload_digest in told
    assert digest_of(b"altered") in told
    token = index.token_of("bob")
    index.stores.blobs.path_of(model.payload_digest).unlink()
    found = predict(SEAMLINE_PAYLOADS=payloads(index), SEAMLINE_TOKEN=token)
    assert found["labels"] == [0, 1, 0]


@pytest.fixture
def served(index: Any, model: ModelVersion, tmp_path: Path) -> Iterator[str]:
    """The data plane, with the fat wheel of this version as `late-arrival` in production."""
    root = tmp_path / "plane"
    signature = model.document["signature"]
    inputs, outputs = (
        tuple(Column(**column) for column in signature[side]) for side in ("inputs", "outputs")
    )
    spec = EndpointSpec(
        endpoint="late-arrival", model="late-arrival", model_version=model.version,
        package_digest=model.wheel_digest, payload_digest=model.payload_digest,
        wheel_path=str(index.stores.blobs.path_of(model.wheel_digest)),
        wheel_name=model.filename, module=model.module, task=model.document["task"],
        signature=Signature(inputs, outputs), python=sys.executable,
    )  # fmt: skip
    root.mkdir()
    moment = "2026-01-01T00:00:00Z"
    snapshot = ServingSnapshot("production", 1, digest_of(b"release"), "1", moment, (spec,))
    write_snapshot(snapshot_path(root, "production"), snapshot, load_or_create_key(root / "keys"))
    command = [sys.executable, "-m", "seamline.dataplane", "--root", str(root)]
    with (root / "plane.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        address, deadline = root / "dataplane.json", time.monotonic() + 240
        while not address.exists():
            assert process.poll() is None, (root / "plane.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        where = f"127.0.0.1:{json.loads(address.read_text())['port']}"
        connection = http.client.HTTPConnection(where, timeout=60)
        connection.request("GET", "/snapshots/production?version=1&wait_s=60")
        assert json.loads(connection.getresponse().read())["version"] == 1
        connection.close()
        yield f"http://{where}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def test_by_api_with_no_byte_of_the_model(
    index: Any, served: str, equipped: Path, predict: Callable[..., Any], run: Run, tmp_path: Path
) -> None:
    install = (*PIP, equipped, "install", "--no-deps", "--index-url", thin(index))
    run(*install, "late-arrival", "seamline-loader")
    here = predict(SEAMLINE_PAYLOADS=payloads(index), SEAMLINE_PAYLOAD_CACHE=str(tmp_path / "c"))
    there = predict(SEAMLINE_ENDPOINT=served)
    assert (there["skops"], there["payload"]) == (False, False)
    assert not (tmp_path / "cache").exists()
    assert there["labels"] == here["labels"]
    np.testing.assert_allclose(there["scores"], here["scores"], rtol=1e-12)
    named = predict(SEAMLINE_ENDPOINT=f"{served}/production/v2/models/late-arrival")
    assert named["labels"] == here["labels"]
    told = predict(check=False, SEAMLINE_ENDPOINT=f"{served}/v2/models/late-arival")
    assert "answered 404" in told
    assert "late-arrival" in told


def test_by_api_in_an_environment_without_libraries(
    index: Any, served: str, venv: Path, run: Run
) -> None:
    install = (*PIP, venv, "install", "--no-deps", "--index-url", thin(index))
    run(*install, "late-arrival", "seamline-loader")
    program = """
import sys, late_arrival
model = late_arrival.load()
rows = [{"x": 0.0}, {"x": 3.0}]
print(model.predict(rows), [round(a + b, 6) for a, b in model.predict_proba(rows)])
assert not {"numpy", "sklearn", "skops"} & set(sys.modules)
"""
    ran = run("env", f"SEAMLINE_ENDPOINT={served}", venv, "-c", program)
    assert ran.stdout == "[0, 1] [1.0, 1.0]\n"


def test_by_api_many_rows_no_rows_and_wrong_rows(
    index: Any, served: str, model: ModelVersion
) -> None:
    remote = RemoteModel(model.document, loading.read_columns, served)
    assert find_payload(index.stores, "dataops", model.payload_digest) > 0
    payload = index.stores.blobs.get(model.payload_digest)
    local = loading.open_model(model.document, payload)
    rows = {"x": np.linspace(-1, 4, 12_001)}
    here, there = local.outputs(rows), remote.outputs(rows)
    np.testing.assert_array_equal(there["label"], here["label"])
    np.testing.assert_allclose(there["score"], here["score"], rtol=1e-12)
    assert {name: values.dtype for name, values in there.items()} == {
        name: values.dtype for name, values in here.items()
    }
    assert remote.predict({"x": []}).shape == (0,)
    assert remote.predict_proba([]).shape == (0, 2)
    with pytest.raises(ValueError, match="Missing columns: x"):
        remote.predict([{"y": 1.0}])
    with pytest.raises(EndpointError, match="cannot be reached"):
        RemoteModel(model.document, loading.read_columns, "http://127.0.0.1:9").predict(
            [{"x": 1.0}]
        )


def test_by_api_another_version_is_told_once(served: str, model: ModelVersion) -> None:
    older = {**model.document, "version": "0.9.0"}
    remote = RemoteModel(older, loading.read_columns, served)
    with pytest.warns(UserWarning, match=r"answers as late-arrival 1\.0\.0; installed is 0\.9\.0"):
        remote.predict([{"x": 1.0}])
    remote.predict([{"x": 1.0}])
    pinned = f"{served}/v2/models/late-arrival/versions/0.9.0"
    with pytest.raises(EndpointError, match=r"answered 404: .*0\.9\.0"):
        RemoteModel(older, loading.read_columns, pinned).predict([{"x": 1.0}])
