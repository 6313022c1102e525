"""What the platform uses was stated by its own key: a database and a store that say so do not do.

The attacker rewrites both, and may even use statements that the workspace has signed of other
things; what they lack is the key.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update

from seamline.app.promote.make_release import make_release
from seamline.app.train.resolve_uri import resolve_uri
from seamline.app.train.run_schedule import add_schedule
from seamline.app.train.submit_run import submit_pipeline
from seamline.app.trust.rotate_key import rotate_key
from seamline.domain.digests import digest_of
from seamline.domain.errors import Refused
from seamline.domain.states import PromotionPhase
from seamline.project.plan import apply_project
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.promotion import Promotion, find_promotion
from seamline.promote.release import Pin, Release, record_release
from seamline.promote.requests import request_promotion
from seamline.promote.rows import GATE_RESULTS
from seamline.register.models.catalogue import ModelVersion
from seamline.register.pipelines.publishing import publish_pipeline
from seamline.register.rows import MODEL_VERSIONS, PIPELINE_TAGS, PIPELINE_VERSIONS
from seamline.server import ControlPlane
from seamline.train.context import RunContext
from seamline.train.schedule.schedules import NewSchedule, PipelineChoice
from seamline.trust.statement_rows import STATEMENTS

DEPLOYED = """
project = "late"
team = "late"

[models.late]
pipeline = "train"
output = "train.model"
samples = "train.samples"

[deployments.late]
model = "late"
"""
Attack = Callable[[ControlPlane], None]


def ir(note: str, name: str = "nothing") -> bytes:
    executors = {"exec-do": {"container": {"image": f"i@sha256:{'0' * 64}", "command": [note]}}}
    task = {"taskInfo": {"name": "do"}, "componentRef": {"name": "comp-do"}, "inputs": {}}
    document = {
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.14.0",
        "pipelineInfo": {"name": name},
        "root": {"dag": {"tasks": {"do": task}}},
        "components": {"comp-do": {"executorLabel": "exec-do"}},
        "deploymentSpec": {"executors": executors},
    }
    return json.dumps(document).encode()


GOOD, OLD, OTHER, EVIL = ir("good"), ir("old"), ir("other", "other"), ir("evil")


@pytest.fixture
def published(plane: ControlPlane) -> ControlPlane:
    stores = plane.platform.stores
    publish_pipeline(stores, OLD, ["0.9.0"], by="ann")
    publish_pipeline(stores, GOOD, ["1.0.0"], by="ann")
    publish_pipeline(stores, OTHER, ["1.0.0"], by="ann")
    return plane


def point_tag(plane: ControlPlane, digest: str) -> None:
    with plane.platform.stores.db.transaction() as tx:
        mine = PIPELINE_TAGS.c.digest == digest_of(GOOD)
        tx.execute(update(PIPELINE_TAGS).where(mine).values(digest=digest))


def plant(plane: ControlPlane) -> None:
    """Other bytes, of which nobody has stated anything."""
    digest = str(plane.platform.stores.blobs.put(EVIL))
    point_tag(plane, digest)
    with plane.platform.stores.db.transaction() as tx:
        mine = PIPELINE_VERSIONS.c.digest == digest_of(GOOD)
        tx.execute(update(PIPELINE_VERSIONS).where(mine).values(digest=digest))


def relabel(plane: ControlPlane) -> None:
    """The real statement, filed under the other bytes."""
    plant(plane)
    with plane.platform.stores.db.transaction() as tx:
        mine = STATEMENTS.c.digest == digest_of(GOOD)
        tx.execute(update(STATEMENTS).where(mine).values(digest=digest_of(EVIL)))


def roll_back(plane: ControlPlane) -> None:
    """The tag of today for the bytes of yesterday, which are stated: under their own tag."""
    point_tag(plane, digest_of(OLD))


def swap(plane: ControlPlane) -> None:
    """Another pipeline's bytes, and its statements."""
    point_tag(plane, digest_of(OTHER))
    with plane.platform.stores.db.transaction() as tx:
        mine = PIPELINE_VERSIONS.c.digest == digest_of(GOOD)
        tx.execute(update(PIPELINE_VERSIONS).where(mine).values(digest=digest_of(OTHER)))


def forget(plane: ControlPlane) -> None:
    with plane.platform.stores.db.transaction() as tx:
        tx.execute(delete(STATEMENTS))


ATTACKS = {
    plant: "There is none.",
    relabel: "It is about sha256:",
    roll_back: "not about pipelines/default/main/nothing@1.0.0",
    swap: "not about pipelines/default/main/nothing@1.0.0",
    forget: "There is none.",
}


def run_it(plane: ControlPlane) -> None:
    submit_pipeline(plane.platform, "nothing@1.0.0", arguments={}, by="ann")


def schedule_it(plane: ControlPlane) -> None:
    choice = PipelineChoice("nothing", "1.0.0")
    new = NewSchedule("nightly", "dataops", choice, "@daily")
    add_schedule(plane.platform, new, by="ann")


def release_it(plane: ControlPlane) -> None:
    make_release(plane.platform, "spring", [], ["nothing@1.0.0"], by="ann")


def run_it_by_http(plane: ControlPlane) -> None:
    async def one() -> httpx.Response:
        transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.post("/api/v1/runs", json={"pipeline": "nothing@1.0.0"})

    answer = asyncio.run(one())
    if answer.status_code != 200:
        raise Refused(answer.json()["error"]["message"])


USES = (run_it, run_it_by_http, schedule_it, release_it)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_pipeline_that_is_not_what_was_stated_is_used_nowhere(
    published: ControlPlane, attack: Attack, use: Attack
) -> None:
    attack(published)
    with pytest.raises(Refused) as refused:
        use(published)
    assert "The pipeline nothing@1.0.0 is not what this workspace published" in str(refused.value)
    assert ATTACKS[attack] in str(refused.value)


@pytest.mark.parametrize("use", USES)
def test_what_was_stated_is_used_also_when_its_key_has_ended(
    published: ControlPlane, use: Attack
) -> None:
    from_before = published.platform.key.public.key_id
    rotate_key(published.platform.stores, by="root")
    assert published.platform.key.public.key_id != from_before
    use(published)


def test_publishing_again_states_what_an_earlier_version_did_not(published: ControlPlane) -> None:
    forget(published)
    with pytest.raises(Refused, match="publish the same bytes again"):
        run_it(published)
    publish_pipeline(published.platform.stores, GOOD, ["1.0.0"], by="ann")
    run_it(published)


# -- models -------------------------------------------------------------------------------------


def bundle(plane: ControlPlane, model: ModelVersion) -> None:
    make_release(plane.platform, "spring", [f"{model.model}@{model.version}"], [], by="ann")


def import_it(plane: ControlPlane, model: ModelVersion) -> None:
    context = RunContext("run-2", "dataops", "score", "ann", "importer")
    resolve_uri(plane.platform.stores, f"models://{model.model}@{model.version}", context)


def rewrite(plane: ControlPlane, model: ModelVersion, **values: Any) -> None:
    with plane.platform.stores.db.transaction() as tx:
        mine = MODEL_VERSIONS.c.version == model.version
        tx.execute(update(MODEL_VERSIONS).where(mine).values(**values))


@pytest.mark.parametrize("use", [bundle, import_it])
def test_a_model_that_is_not_what_was_stated_is_used_nowhere(
    plane: ControlPlane,
    register_late: Callable[..., ModelVersion],
    use: Callable[[ControlPlane, ModelVersion], None],
) -> None:
    good = register_late("1.0.0")
    use(plane, good)
    evil = str(plane.platform.stores.blobs.put(b"evil"))
    rewrite(plane, good, wheel_digest=evil)
    said = r"late 1\.0\.0 is not what this workspace published"
    with pytest.raises(Refused, match=said) as found:
        use(plane, good)
    assert evil in str(found.value) and good.wheel_digest in str(found.value)


def live_in_development(plane: ControlPlane, release: Release, *gates: str) -> Promotion:
    """As far as it gets there, past these gates alone."""
    stores = plane.platform.stores
    plain = [replace(one, gates=gates, soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    made = record_release(stores, release, "spring", by="ann")
    asked = request_promotion(stores, made.digest, "development", by="ann")
    while plane.loop.step():
        pass
    with stores.db.read() as connection:
        return find_promotion(connection, asked.id)


def test_a_release_whose_pipeline_nobody_stated_passes_no_gate(published: ControlPlane) -> None:
    digest = str(published.platform.stores.blobs.put(EVIL))
    release = Release(pipelines=(Pin("nothing", "1.0.0", digest),))
    found = live_in_development(published, release, "provenance")
    assert found.phase is not PromotionPhase.LIVE
    with published.platform.stores.db.read() as connection:
        told = connection.execute(select(GATE_RESULTS.c.sentence)).scalars().all()
    assert "The pipeline nothing@1.0.0 is not what this workspace published" in " ".join(told)


def test_what_is_stated_passes_the_gate(published: ControlPlane) -> None:
    release = Release(pipelines=(Pin("nothing", "1.0.0", digest_of(GOOD)),))
    found = live_in_development(published, release, "provenance")
    assert found.phase is PromotionPhase.LIVE


def test_serving_is_told_nothing_of_a_model_whose_row_was_rewritten(
    plane: ControlPlane, register_late: Callable[..., ModelVersion]
) -> None:
    """The plane obeys what is signed here; so here is looked what was signed."""
    stores = plane.platform.stores
    apply_project(stores, DEPLOYED, "seamline.toml", by="ann")
    model = register_late("1.0.0")
    document = {**model.document, "requirements": ["evil==1.0"]}
    rewrite(plane, model, document=json.dumps(document))
    release = Release(packages=(Pin("late", "1.0.0", model.wheel_digest),))
    found = live_in_development(plane, release)
    assert found.phase is PromotionPhase.FAILED
    assert "model.json of late 1.0.0" in found.reason
