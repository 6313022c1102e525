"""One bit, anywhere, in a stored pipeline: the registry does not hand it out, and says both
digests. The places are drawn by a seed, so that a failure can be had again."""

# No postponed annotations here: the KFP SDK reads those of its components.
import random
from pathlib import Path

import httpx
import pytest
from kfp import compiler, dsl
from kfp.registry import RegistryClient
from requests import HTTPError

from seamline.domain.digests import digest_of
from seamline.store.stores import Stores

SEED, PLACES = 4, 40


@pytest.fixture
def first(tmp_path: Path) -> Path:
    @dsl.component(base_image="python:3.11")
    def count(flights: int) -> int:
        return flights

    @dsl.pipeline(name="counting")
    def counting(flights: int = 3) -> int:
        return count(flights=flights).output

    path = tmp_path / "first.yaml"
    compiler.Compiler().compile(counting, str(path))
    return path


def test_a_flipped_pipeline_is_not_handed_out(
    registry_url: str, first: Path, tmp_path: Path, stores: Stores
) -> None:
    client = RegistryClient(host=registry_url)
    package, version = client.upload_pipeline(str(first), tags=["1.0.0"])
    data, path = first.read_bytes(), stores.blobs.path_of(version)
    choose = random.Random(SEED)
    path.chmod(0o644)
    for _ in range(PLACES):
        flipped = bytearray(data)
        flipped[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        path.write_bytes(flipped)
        for reference in (version, "1.0.0"):
            answer = httpx.get(f"{registry_url}/{package}/{reference}")
            assert answer.status_code == 422, (SEED, reference)
            said = answer.json()["error"]["message"]
            assert version in said and digest_of(bytes(flipped)) in said
    kept = tmp_path / "kept.yaml"
    for named in ({"version": version}, {"tag": "1.0.0"}):
        with pytest.raises(HTTPError, match="422"):
            client.download_pipeline(package, file_name=str(kept), **named)
    assert not kept.exists()
    path.write_bytes(data)
    client.download_pipeline(package, tag="1.0.0", file_name=str(kept))
    assert kept.read_bytes() == data
