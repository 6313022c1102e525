"""pip, uv and twine, unmodified, over a real port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

from seamline.protocols.upstream import UpstreamIndex
from seamline.register.models import package_task
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.packages import index as packages
from seamline.trust.keys import load_or_create_key

Run = Callable[..., subprocess.CompletedProcess[str]]
TOOLS = Path(sys.executable).parent
PIP = (sys.executable, "-m", "pip", "--python")
JSON = {"accept": "application/vnd.pypi.simple.v1+json"}


def publish(index: Any, path: Path, by: str = "ada") -> packages.PackageFile:
    return packages.publish_package(index.stores, path.name, path.read_bytes(), by=by)


@pytest.fixture
def model_wheel(tmp_path: Path) -> bytes:
    estimator = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    payload = skops.io.dumps(estimator)
    (tmp_path / "model.skops").write_bytes(payload)
    (tmp_path / "samples").write_text('{"x": 0.5}\n{"x": 2.5}\n')
    _, task = packaging_task(tmp_path / "model.skops", tmp_path / "samples", requirements=[])
    described = package_task.main(task)
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document("late-arrival", "1.0.0", described, lineage)
    return build_model_wheel(ModelWheelSpec(document, described["samples"], payload))


def test_pip_installs_a_model_and_it_predicts(
    index: Any, model_wheel: bytes, venv: Path, run: Run
) -> None:
    key = load_or_create_key(index.stores.root / "keys")
    register_model_version(index.stores, model_wheel, key=key, by="ada")
    run(*PIP, venv, "install", "--no-deps", "--index-url", index.simple(), "late-arrival==1.0.0")
    libraries = Path(np.__file__).parents[1]
    program = f"""
import sys, late_arrival
sys.path.append({str(libraries)!r})
assert late_arrival.__file__.startswith(sys.prefix)
print(late_arrival.load().outputs([{{"x": 0.0}}, {{"x": 3.0}}])["label"].tolist())
"""
    assert run(venv, "-c", program).stdout == "[0, 1]\n"


def test_dependencies_come_from_upstream(
    index: Any, upstream: Any, make_wheel: Callable[..., Path], venv: Path, run: Run
) -> None:
    publish(upstream, make_wheel("small-library", "2.0"))
    publish(index, make_wheel("team-tools", "1.0", requires="small-library>=1"))
    answer = httpx.get(index.simple() + "Small_Library/")
    assert answer.status_code == 307
    assert answer.headers["location"] == f"{upstream.simple()}small-library/"  # no credentials
    for install in (
        (*PIP, venv, "install"),
        (TOOLS / "uv", "pip", "install", "--reinstall", "--python", venv),
    ):
        run(*install, "--index-url", index.simple(), "team-tools")
        assert run(venv, "-c", "import team_tools, small_library as s; print(s.x)").stdout == "1\n"


def test_a_name_of_ours_never_leads_upstream(
    index: Any, upstream: Any, make_wheel: Callable[..., Path], venv: Path, run: Run
) -> None:
    publish(upstream, make_wheel("team-tools", "99.0", "raise SystemExit('evil')\n"))
    publish(index, make_wheel("team-tools", "1.0"))
    installs: tuple[tuple[Any, ...], ...] = (
        (*PIP, venv, "install"),
        (TOOLS / "uv", "pip", "install", "--reinstall", "--python", venv),
    )
    for install in installs:
        refused = run(*install, "--index-url", index.simple("staging"), "team-tools", check=False)
        assert refused.returncode != 0
    for install in installs:
        run(*install, "--index-url", index.simple(), "team-tools")
        assert run(venv, "-c", "import team_tools; print(team_tools.x)").stdout == "1\n"
    answer = httpx.get(index.simple("production") + "team_tools/")
    assert answer.status_code == 404
    assert "team-tools" in answer.json()["error"]["message"]
    assert upstream.asked == []


def test_the_real_upstream(
    make_index: Callable[..., Any], make_wheel: Callable[..., Path], venv: Path, run: Run
) -> None:
    real = UpstreamIndex()
    try:
        httpx.get(f"{real.url}/six/", timeout=20, follow_redirects=True).raise_for_status()
    except (httpx.HTTPError, ValueError) as error:
        pytest.skip(f"the upstream index cannot be reached: {error!r}")
    index = make_index("ours", real)
    publish(index, make_wheel("team-tools", "1.0", requires="six"))
    for install in (
        (*PIP, venv, "install", "--ignore-installed"),
        (TOOLS / "uv", "pip", "install", "--reinstall", "--python", venv),
    ):
        run(*install, "--index-url", index.simple(), "team-tools")
        run(venv, "-c", "import six, team_tools")


def test_twine_and_uv_publish(
    index: Any, make_wheel: Callable[..., Path], tmp_path: Path, run: Run
) -> None:
    token = index.token_of("bob")
    first, changed = make_wheel("team-tools", "1.0"), make_wheel("team-tools", "1.0", "x = 2\n")
    twine = (TOOLS / "twine", "upload", "--disable-progress-bar", "-u", "__token__", "-p")
    uv = (TOOLS / "uv", "publish", "--trusted-publishing", "never", "-u", "__token__", "-p")
    sends = (
        lambda path, secret=token: (*twine, secret, "--repository-url", index.upload(), path),
        lambda path, secret=token: (*uv, secret, "--publish-url", index.upload(), path),
    )
    for send in sends:
        run(*send(first))
        run(*send(first))
        refused = run(*send(changed), check=False)
        assert refused.returncode != 0
        assert "409" in refused.stdout + refused.stderr
        assert run(*send(first, "wrong"), check=False).returncode != 0
    [file] = packages.list_package_files(index.stores, "dataops", "team-tools")
    assert file.uploaded_by == "bob"
    run(*sends[1](make_wheel("other-tools", "1.0")))
    other = index.token_of("eve")
    for send in sends:
        refused = run(*send(make_wheel("team-tools", "1.1"), other), check=False)
        assert "403" in refused.stdout + refused.stderr
    assert httpx.get(index.simple(), headers=JSON).json()["projects"] == [
        {"name": "other-tools"},
        {"name": "team-tools"},
    ]


def test_pip_verifies_what_it_gets(
    index: Any, make_wheel: Callable[..., Path], venv: Path, run: Run
) -> None:
    file = publish(index, make_wheel("team-tools", "1.0"))
    index.stores.blobs.path_of(file.digest).write_bytes(b"altered")
    refused = run(*PIP, venv, "install", "--index-url", index.simple(), "team-tools", check=False)
    assert refused.returncode != 0
    assert "422" in refused.stdout + refused.stderr
