"""What follows from an environment's pointer: tags, aliases, schedules, runs; and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, update

from seamline.app.promote.follow_pipelines import follow_where_behind
from seamline.app.promote.make_release import make_release
from seamline.app.register.environment_pipelines import find_pipeline, read_pipeline
from seamline.app.register.model_aliases import find_model
from seamline.app.register.model_outcomes import find_or_explain
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import (
    DigestMismatch,
    NotFound,
    Refused,
    Unavailable,
)
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.promote.requests import request_promotion, request_rollback
from seamline.promote.rows import ENVIRONMENTS
from seamline.register.models.catalogue import ModelVersion, register_model_version
from seamline.register.models.documents import Lineage, make_model_document
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.register.pipelines.catalogue import list_tags
from seamline.register.pipelines.publishing import (
    delete_tag,
    publish_pipeline,
    tag_pipeline,
)
from seamline.register.rows import MODEL_VERSIONS, PIPELINE_TAGS
from seamline.server import ControlPlane
from seamline.store.facts import RecordedFact, read_facts
from seamline.train.runs import show_request


def ir(note: str, name: str = "score") -> bytes:
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


OLD, NEW = ir("old"), ir("new")


@pytest.fixture
def published(plane: ControlPlane) -> ControlPlane:
    """Two versions of a pipeline; nothing but a request is needed to go live in development."""
    stores = plane.platform.stores
    publish_pipeline(stores, OLD, ["1.0.0"], by="ann")
    publish_pipeline(stores, NEW, ["1.1.0"], by="ann")
    plain = [replace(one, gates=(), soak_s=0.0, automatic=False) for one in DEFAULT_POLICIES]
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, tuple(plain), by="root")
    return plane


def settle(plane: ControlPlane) -> None:
    while plane.loop.step():
        pass


def go_live(plane: ControlPlane, alias: str, *pipelines: str, models: tuple[str, ...] = ()) -> str:
    made = make_release(plane.platform, alias, models, pipelines, by="ann")
    request_promotion(plane.platform.stores, made.digest, "development", by="ann")
    settle(plane)
    return made.digest


def facts(plane: ControlPlane, kind: str) -> list[RecordedFact]:
    with plane.platform.stores.db.read() as connection:
        return read_facts(connection, kinds=[kind])


def tags(plane: ControlPlane, package: str = "score") -> dict[str, str]:
    return {one.tag: one.digest for one in list_tags(plane.platform.stores, package)}


def register(plane: ControlPlane, version: str) -> ModelVersion:
    payload = f"payload {version}".encode()
    described: dict[str, Any] = {
        "task": "binary_classification",
        "format": "skops",
        "payload_digest": digest_of(payload),
        "threshold": 0.5,
        "signature": {
            "inputs": [{"name": "x", "datatype": "FP64", "nullable": False}],
            "outputs": [{"name": "label", "datatype": "INT64"}],
        },
        "requirements": ["scikit-learn==1.9.1", "skops==0.16.0"],
        "requires_python": ">=3.11",
        "trusted_types": [],
        "frame": None,
    }
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document("late", version, described, lineage)
    wheel = build_model_wheel(ModelWheelSpec(document, {"rows": [], "outputs": {}}, payload))
    platform = plane.platform
    return register_model_version(platform.stores, wheel, key=platform.key, by="ann")


# -- tags ------------------------------------------------------------------------------------


def test_the_tag_is_on_what_is_live_and_goes_back_with_it(published: ControlPlane) -> None:
    stores = published.platform.stores
    publish_pipeline(stores, ir("other", "other"), ["1.0.0"], by="ann")
    go_live(published, "spring", "score@1.0.0", "other@1.0.0")
    assert read_pipeline(stores, "score", "development") == OLD
    assert "development" in tags(published, "other")
    go_live(published, "summer", "score@1.1.0")
    assert read_pipeline(stores, "score", "development") == NEW
    assert "development" not in tags(published, "other"), "summer holds none"
    request_rollback(stores, "development", "worse", by="ann")
    settle(published)
    assert read_pipeline(stores, "score", "development") == OLD
    assert "development" in tags(published, "other")


def test_each_move_of_it_is_the_platforms_and_says_why(published: ControlPlane) -> None:
    go_live(published, "spring", "score@1.0.0")
    [changed] = facts(published, "environment.changed")
    moved = facts(published, "pipeline.tag_moved")[-1]
    assert (moved.by, moved.caused_by) == ("seamline", changed.id)
    assert (moved.body["tag"], moved.body["after"]) == ("development", digest_of(OLD))
    # Signed as other tags are: a run by it is of what was stated.
    run = submit_pipeline(published.platform, "score@development", arguments={}, by="ann")
    assert show_request(published.platform.stores, run)["pipeline_digest"] == digest_of(OLD)


def test_people_neither_make_nor_move_nor_delete_it(published: ControlPlane) -> None:
    stores = published.platform.stores
    go_live(published, "spring", "score@1.0.0")
    before = tags(published)
    newest = str(digest_of(NEW))
    for deed in (
        lambda: publish_pipeline(stores, ir("evil"), ["development"], by="ann"),
        lambda: publish_pipeline(stores, NEW, ["1.1.0", "production"], by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "production", by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "development", by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "staging", by="ann", create_only=True),
        lambda: tag_pipeline(stores, "score", newest, "dataops", by="ann"),
        lambda: delete_tag(stores, "score", "development", by="ann"),
    ):
        with pytest.raises(Refused, match="is the name of an environment"):
            deed()
    assert tags(published) == before


def test_a_release_of_what_is_live_names_the_version_and_no_environment(
    published: ControlPlane,
) -> None:
    go_live(published, "spring", "score@1.0.0")
    register(published, "1.0.0")
    made = make_release(published.platform, "next", ["late"], ["score@development"], by="ann")
    assert [pin.version for pin in made.release.pipelines] == ["1.0.0"]


def test_where_nothing_is_live_it_says_so(published: ControlPlane) -> None:
    stores = published.platform.stores
    with pytest.raises(Refused, match="No version of score is live in staging: no release is"):
        find_pipeline(stores, "score", "staging")
    with pytest.raises(NotFound, match="nothing-such"):
        find_pipeline(stores, "nothing-such", "staging")


def _older(plane: ControlPlane) -> None:
    """Back to a version that it stood for once: that is signed, too."""
    set_tag(plane, digest_of(OLD))


def _drop(plane: ControlPlane) -> None:
    with plane.platform.stores.db.transaction() as tx:
        tx.execute(delete(PIPELINE_TAGS).where(PIPELINE_TAGS.c.tag == "development"))


def set_tag(plane: ControlPlane, digest: str) -> None:
    with plane.platform.stores.db.transaction() as tx:
        mine = PIPELINE_TAGS.c.tag == "development"
        tx.execute(update(PIPELINE_TAGS).where(mine).values(digest=digest))


def _download(plane: ControlPlane) -> None:
    read_pipeline(plane.platform.stores, "score", "development")


def _submit(plane: ControlPlane) -> None:
    submit_pipeline(plane.platform, "score@development", arguments={}, by="ann")


@pytest.mark.parametrize("use", [_download, _submit])
@pytest.mark.parametrize(("attack", "found"), [(_older, digest_of(OLD)), (_drop, "no such tag")])
def test_an_altered_tag_is_refused_with_both_digests(
    published: ControlPlane,
    attack: Callable[[ControlPlane], None],
    found: str,
    use: Callable[[ControlPlane], None],
) -> None:
    go_live(published, "spring", "score@1.0.0")
    go_live(published, "summer", "score@1.1.0")
    use(published)
    attack(published)
    with pytest.raises(DigestMismatch) as refused:
        use(published)
    assert (refused.value.details["expected"], refused.value.details["actual"]) == (
        digest_of(NEW),
        found,
    )


def test_an_altered_pointer_is_refused_with_both_digests(published: ControlPlane) -> None:
    spring = go_live(published, "spring", "score@1.0.0")
    summer = go_live(published, "summer", "score@1.1.0")
    with published.platform.stores.db.transaction() as tx:
        mine = ENVIRONMENTS.c.name == "development"
        tx.execute(update(ENVIRONMENTS).where(mine).values(release=spring))
    for use in (_download, _submit):
        with pytest.raises(DigestMismatch) as refused:
            use(published)
        assert refused.value.details["expected"] == summer
        assert refused.value.details["actual"] == spring


def test_altered_bytes_are_refused_by_whatever_follows(published: ControlPlane) -> None:
    go_live(published, "spring", "score@1.0.0")
    path = published.platform.stores.blobs.path_of(str(digest_of(OLD)))
    altered = OLD.replace(b"old", b"odd")
    path.chmod(0o600)
    path.write_bytes(altered)
    for use in (_download, _submit):
        with pytest.raises(DigestMismatch) as refused:
            use(published)
        assert refused.value.details["expected"] == digest_of(OLD)
        assert refused.value.details["actual"] == digest_of(altered)


def test_a_tag_on_its_way_is_waited_for(published: ControlPlane) -> None:
    """Between the pointer's move and the tag's, neither is wrong."""
    stores = published.platform.stores
    go_live(published, "spring", "score@1.0.0")
    made = make_release(published.platform, "summer", [], ["score@1.1.0"], by="ann")
    request_promotion(stores, made.digest, "development", by="ann")
    while len(facts(published, "environment.changed")) < 2:
        published.loop.step()
    with pytest.raises(Unavailable, match="on its way"):
        _download(published)
    settle(published)
    _download(published)


def test_what_was_live_before_there_were_such_tags_is_caught_up_with(
    published: ControlPlane,
) -> None:
    go_live(published, "spring", "score@1.0.0")
    with published.platform.stores.db.transaction() as tx:
        tx.execute(delete(PIPELINE_TAGS).where(PIPELINE_TAGS.c.tag == "development"))
    for _ in range(2):
        follow_where_behind(published.platform)
        _download(published)
    assert len(facts(published, "pipeline.tag_moved")) == 4, "two of people, and one each time"


# -- aliases ---------------------------------------------------------------------------------


def test_an_environments_name_is_a_models_alias(published: ControlPlane) -> None:
    stores = published.platform.stores
    register(published, "1.0.0")
    with pytest.raises(Refused, match="No version of late is live in development: no release is"):
        find_model(stores, "late", "development")
    go_live(published, "spring", "score@1.0.0", models=("late@1.0.0",))
    register(published, "1.1.0")
    assert find_or_explain(published.platform, "late", "development").version == "1.0.0"
    assert find_model(stores, "late", "dataops").version == "1.1.0"
    with pytest.raises(Refused, match="is live in staging: no release is"):
        find_model(stores, "late", "staging")
    with pytest.raises(NotFound):
        find_model(stores, "lat", "development")


def test_an_alias_of_an_altered_row_is_refused_with_both_digests(published: ControlPlane) -> None:
    model = register(published, "1.0.0")
    go_live(published, "spring", "score@1.0.0", models=("late@1.0.0",))
    evil = str(published.platform.stores.blobs.put(b"evil"))
    with published.platform.stores.db.transaction() as tx:
        tx.execute(update(MODEL_VERSIONS).values(wheel_digest=evil))
    with pytest.raises(DigestMismatch) as refused:
        find_model(published.platform.stores, "late", "development")
    assert refused.value.details["expected"] == model.wheel_digest
    assert refused.value.details["actual"] == evil
