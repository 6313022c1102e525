"""One bit, anywhere, in what lies stored or installed: refused where it is used, both digests told.

The places are drawn by a seed, so that a failure can be had again.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from seamline_loader.configuration import Configuration
from seamline_loader.errors import WrongBytes
from seamline_loader.payloads import Payloads

from seamline.domain.digests import digest_of
from seamline.register.models.catalogue import ModelVersion

Run = Callable[..., subprocess.CompletedProcess[str]]
PIP = (sys.executable, "-m", "pip", "--python")
JSON = {"accept": "application/vnd.pypi.simple.v1+json"}
SEED, PLACES = 4, 25
#: Flips bits of a file, one at a time, and loads: what is said; whether the file is whole after it.
FLIP_AND_LOAD = """
import hashlib, json, logging, os, pathlib, random, sys
import late_arrival
folder, seed, places, name = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]
warnings, found = [], []
handler = logging.Handler()
handler.emit = lambda record: warnings.append(record.getMessage())
logging.getLogger().addHandler(handler)
late_arrival.load()
[path] = folder.rglob(name)
sound = path.read_bytes()
choose = random.Random(seed)
for _ in range(places):
    flipped = bytearray(sound)
    flipped[choose.randrange(len(sound))] ^= 1 << choose.randrange(8)
    os.chmod(path, 0o644)
    path.write_bytes(flipped)
    warnings.clear()
    try:
        late_arrival.load()
        said = " ".join(["loaded", *warnings])
    except Exception as error:
        said = f"refused {error}"
    found.append([hashlib.sha256(flipped).hexdigest(), said, path.read_bytes() == sound])
    path.write_bytes(sound)
    late_arrival.load()
print(json.dumps(found))
"""


def flips(data: bytes, places: int = PLACES) -> Iterator[bytes]:
    choose = random.Random(SEED)
    for _ in range(places):
        flipped = bytearray(data)
        flipped[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        yield bytes(flipped)


def thin(index: Any) -> str:
    return str(index.simple()).replace("/simple/", "/thin/simple/")


def find_file(page: str) -> tuple[str, str]:
    """The address and digest of the one file that a page of the index lists."""
    answer = httpx.get(page, headers=JSON, follow_redirects=True)
    [file] = answer.json()["files"]
    return urljoin(str(answer.url), file["url"]), f"sha256:{file['hashes']['sha256']}"


@pytest.mark.parametrize("which", ["fat", "thin", "loader"])
def test_a_flipped_wheel_is_handed_out_by_no_index(
    which: str, index: Any, model: ModelVersion, venv: Path, run: Run, tmp_path: Path
) -> None:
    simple, name = index.simple() if which == "fat" else thin(index), "late-arrival"
    name = "seamline-loader" if which == "loader" else name
    url, digest = find_file(f"{simple}{name}/")
    data, path = httpx.get(url).content, index.stores.blobs.path_of(digest)
    assert digest_of(data) == digest
    for flipped in flips(data):
        path.chmod(0o644)
        path.write_bytes(flipped)
        answer = httpx.get(url)
        assert answer.status_code == 422
        said = answer.json()["error"]["message"]
        assert digest in said and digest_of(flipped) in said
    target = tmp_path / "got"
    words = ("download", "--no-deps", "--dest", target, "--index-url", simple, name)
    refused = run(*PIP, venv, *words, check=False)
    assert refused.returncode != 0 and "422" in refused.stdout + refused.stderr
    assert not list(target.glob("*.whl"))
    path.write_bytes(data)
    run(*PIP, venv, *words)
    assert len(list(target.glob("*.whl"))) == 1


def check_said(printed: str, digest: str, places: int, said_first: str, is_whole: bool) -> None:
    told = json.loads(printed)
    assert len(told) == places
    for found, said, is_whole_now in told:
        assert said.startswith(said_first) and digest in said and found in said, said
        assert is_whole_now is is_whole


def test_a_flipped_payload_in_site_packages_is_not_loaded(
    index: Any, model: ModelVersion, equipped: Path, run: Run
) -> None:
    install = ("install", "--no-deps", "--index-url", index.simple(), "late-arrival")
    run(*PIP, equipped, *install)
    site = equipped.parents[1] / "lib"
    ran = run(equipped, "-c", FLIP_AND_LOAD, site, SEED, PLACES, "payload/model.skops")
    check_said(ran.stdout, model.payload_digest, PLACES, "refused", is_whole=False)


def test_a_flipped_payload_in_the_cache_of_thin_wheels_is_dropped_and_fetched_anew(
    index: Any, model: ModelVersion, equipped: Path, run: Run, tmp_path: Path
) -> None:
    """It is refused, which the warning tells; what is loaded then came from the server, verified.
    Where nobody says where that is, nothing is loaded."""
    install = ("install", "--no-deps", "--index-url", thin(index))
    run(*PIP, equipped, *install, "late-arrival", "seamline-loader")
    cache, name = tmp_path / "cache", model.payload_digest.removeprefix("sha256:")
    payloads = f"{index.url}/pypi/dataops/payloads"
    settings = (f"SEAMLINE_PAYLOAD_CACHE={cache}", f"SEAMLINE_PAYLOADS={payloads}")
    ran = run("env", *settings, equipped, "-c", FLIP_AND_LOAD, cache, SEED, 5, f"sha256/{name}")
    check_said(ran.stdout, model.payload_digest, 5, "loaded A cached payload", is_whole=True)
    flipped = next(flips(next(cache.rglob(f"sha256/{name}")).read_bytes()))
    next(cache.rglob(f"sha256/{name}")).write_bytes(flipped)
    alone = run(
        "env", settings[0], equipped, "-c", "import late_arrival as m; m.load()", check=False
    )
    assert alone.returncode != 0 and "Set SEAMLINE_PAYLOADS" in alone.stderr
    assert model.payload_digest in alone.stderr and digest_of(flipped) in alone.stderr


def test_a_flipped_payload_on_the_server_is_other_bytes_to_whoever_fetches_it(
    index: Any, model: ModelVersion, tmp_path: Path
) -> None:
    path = index.stores.blobs.path_of(model.payload_digest)
    location = f"{index.url}/pypi/dataops/payloads"
    assert httpx.get(f"{location}/{model.payload_digest}").is_success  # it lies by itself now
    flipped = next(flips(path.read_bytes()))
    path.chmod(0o644)
    path.write_bytes(flipped)
    fetching = Payloads(Configuration((location,), tmp_path / "cache", 1 << 30, None))
    with pytest.raises(WrongBytes) as refused:
        fetching.read(model.payload_digest)
    assert model.payload_digest in str(refused.value)
    assert digest_of(flipped) in str(refused.value)
