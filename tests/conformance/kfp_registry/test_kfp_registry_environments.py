"""The unmodified RegistryClient gets what production runs by production's name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kfp import compiler, dsl
from kfp.registry import RegistryClient
from requests import HTTPError
from sqlalchemy import update

from seamline.app.promote.follow_pipelines import follow_pipelines
from seamline.domain.states import PromotionPhase, Verdict
from seamline.promote.environments import apply_policies, live_release
from seamline.promote.gate_results import GateResult, record_gate
from seamline.promote.policy import DEFAULT_POLICIES, POLICY
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.steps import advance, finish, point_environment
from seamline.register.rows import PIPELINE_TAGS
from seamline.store.stores import Stores

LIVE = "development"


@dsl.component(base_image="python:3.11")
def predict(day: str) -> str:
    return day


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], Path]:
    def compile_it(day: str) -> Path:
        @dsl.pipeline(name="score")
        def score(day: str = day):
            predict(day=day)

        path = tmp_path / f"{day}.yaml"
        compiler.Compiler().compile(score, str(path))
        return path

    return compile_it


@pytest.fixture
def go_live(stores: Stores) -> Callable[[str, str], None]:
    """A release of this version, live; then what follows from it."""
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")

    def promote(version: str, digest: str) -> None:
        release = Release(pipelines=(Pin("score", version, digest),))
        record_release(stores, release, f"with-{version}", by="ada")
        asked = request_promotion(stores, f"with-{version}", LIVE, by="ada")
        advance(stores, asked.id)
        record_gate(stores, asked.id, GateResult(POLICY, Verdict.PASS, "", {}), by="seamline")
        advance(stores, asked.id)
        point_environment(stores, asked.id)
        finish(stores, asked.id, PromotionPhase.LIVE, "", caused_by=None)
        with stores.db.read() as connection:
            live = live_release(connection, LIVE)
        platform: Any = SimpleNamespace(stores=stores)
        follow_pipelines(platform, LIVE, live, caused_by=None)

    return promote


def test_by_an_environments_name(
    registry_url: str,
    compiled: Callable[[str], Path],
    go_live: Callable[[str, str], None],
    stores: Stores,
    tmp_path: Path,
) -> None:
    client = RegistryClient(host=registry_url)
    monday, tuesday = compiled("monday"), compiled("tuesday")
    _, old = client.upload_pipeline(str(monday), tags="1.0.0")
    _, new = client.upload_pipeline(str(tuesday), tags=["1.1.0", "latest"])
    target = tmp_path / "downloaded.yaml"

    def download() -> bytes:
        client.download_pipeline("score", tag=LIVE, file_name=str(target))
        return target.read_bytes()

    with pytest.raises(HTTPError) as refused:
        download()
    assert "No version of score is live in development" in refused.value.response.text
    for version, digest, path in (("1.0.0", old, monday), ("1.1.0", new, tuesday)):
        go_live(version, digest)
        assert download() == path.read_bytes()
        assert client.get_tag("score", LIVE)["version"].endswith(digest)
    # People neither upload under it, nor create, move or delete it.
    for deed in (
        lambda: client.upload_pipeline(str(monday), tags=LIVE),
        lambda: client.create_tag("score", old, "production"),
        lambda: client.update_tag("score", old, LIVE),
        lambda: client.delete_tag("score", LIVE),
    ):
        with pytest.raises(HTTPError) as refused:
            deed()
        assert refused.value.response.status_code == 422
        assert "is the name of an environment" in refused.value.response.text
    assert download() == tuesday.read_bytes()
    # Altered in the database, to a version that was live before: refused with both digests.
    with stores.db.transaction() as tx:
        tx.execute(update(PIPELINE_TAGS).where(PIPELINE_TAGS.c.tag == LIVE).values(digest=old))
    with pytest.raises(HTTPError) as refused:
        download()
    said = refused.value.response.text
    assert old in said
    assert new in said
