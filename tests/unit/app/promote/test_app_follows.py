"""What follows from an environment's pointer: tags, aliases, schedules, runs; and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, update

from seamline.app.promote.apply_release import write_environment_snapshot
from seamline.app.promote.follow_pipelines import follow_where_behind
from seamline.app.promote.make_release import make_release
from seamline.app.register.environment_pipelines import find_pipeline, read_pipeline
from seamline.app.register.model_aliases import find_model
from seamline.app.register.model_outcomes import find_or_explain
from seamline.app.train.run_schedule import add_schedule
from seamline.app.train.submit_run import submit_pipeline
from seamline.domain.digests import digest_of
from seamline.domain.errors import (
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
    Unavailable,
)
from seamline.domain.states import PromotionPhase
from seamline.project.plan import apply_project
from seamline.promote.promotion import find_promotion
from seamline.promote.release import find_release
from seamline.promote.requests import request_promotion, request_rollback
from seamline.promote.rows import ENVIRONMENTS
from seamline.register.pipelines.catalogue import list_tags
from seamline.register.pipelines.publishing import (
    delete_tag,
    publish_pipeline,
    tag_pipeline,
)
from seamline.register.rows import MODEL_VERSIONS, PIPELINE_TAGS
from seamline.serve.snapshots.snapshot import read_snapshot, snapshot_path
from seamline.train.runs import show_request
from seamline.train.schedule.schedules import NewSchedule, PipelineChoice, list_schedules

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


def tags(house: Any, package: str = "score") -> dict[str, str]:
    return {one.tag: one.digest for one in list_tags(house.stores, package)}


# -- tags ------------------------------------------------------------------------------------


def test_the_tag_is_on_what_is_live_and_goes_back_with_it(house: Any) -> None:
    stores = house.stores
    publish_pipeline(stores, house.pipeline("other", "other"), ["1.0.0"], by="ann")
    house.go_live("spring", "score@1.0.0", "other@1.0.0")
    assert read_pipeline(stores, "score", "development") == house.old
    assert "development" in tags(house, "other")
    house.go_live("summer", "score@1.1.0")
    assert read_pipeline(stores, "score", "development") == house.new
    assert "development" not in tags(house, "other"), "summer holds none"
    request_rollback(stores, "development", "worse", by="ann")
    house.settle()
    assert read_pipeline(stores, "score", "development") == house.old
    assert "development" in tags(house, "other")


def test_each_move_of_it_is_the_platforms_and_says_why(house: Any) -> None:
    house.go_live("spring", "score@1.0.0")
    [changed] = house.facts("environment.changed")
    moved = house.facts("pipeline.tag_moved")[-1]
    assert (moved.by, moved.caused_by) == ("seamline", changed.id)
    assert (moved.body["tag"], moved.body["after"]) == ("development", digest_of(house.old))
    # Signed as other tags are: a run by it is of what was stated.
    run = submit_pipeline(house.platform, "score@development", arguments={}, by="ann")
    assert show_request(house.stores, run)["pipeline_digest"] == digest_of(house.old)


def test_people_neither_make_nor_move_nor_delete_it(house: Any) -> None:
    stores = house.stores
    house.go_live("spring", "score@1.0.0")
    before = tags(house)
    newest = str(digest_of(house.new))
    for deed in (
        lambda: publish_pipeline(stores, house.pipeline("evil"), ["development"], by="ann"),
        lambda: publish_pipeline(stores, house.new, ["1.1.0", "production"], by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "production", by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "development", by="ann"),
        lambda: tag_pipeline(stores, "score", newest, "staging", by="ann", create_only=True),
        lambda: tag_pipeline(stores, "score", newest, "dataops", by="ann"),
        lambda: delete_tag(stores, "score", "development", by="ann"),
    ):
        with pytest.raises(Refused, match="is the name of an environment"):
            deed()
    assert tags(house) == before


def test_a_release_of_what_is_live_names_the_version_and_no_environment(
    house: Any,
) -> None:
    house.go_live("spring", "score@1.0.0")
    house.register("1.0.0")
    made = make_release(house.platform, "next", ["late"], ["score@development"], by="ann")
    assert [pin.version for pin in made.release.pipelines] == ["1.0.0"]


def test_where_nothing_is_live_it_says_so(house: Any) -> None:
    stores = house.stores
    with pytest.raises(Refused, match="No version of score is live in staging: no release is"):
        find_pipeline(stores, "score", "staging")
    with pytest.raises(NotFound, match="nothing-such"):
        find_pipeline(stores, "nothing-such", "staging")


def _older(house: Any) -> None:
    """Back to a version that it stood for once: that is signed, too."""
    set_tag(house, digest_of(house.old))


def _drop(house: Any) -> None:
    with house.stores.db.transaction() as tx:
        tx.execute(delete(PIPELINE_TAGS).where(PIPELINE_TAGS.c.tag == "development"))


def set_tag(house: Any, digest: str) -> None:
    with house.stores.db.transaction() as tx:
        mine = PIPELINE_TAGS.c.tag == "development"
        tx.execute(update(PIPELINE_TAGS).where(mine).values(digest=digest))


def _download(house: Any) -> None:
    read_pipeline(house.stores, "score", "development")


def _submit(house: Any) -> None:
    submit_pipeline(house.platform, "score@development", arguments={}, by="ann")


@pytest.mark.parametrize("use", [_download, _submit])
@pytest.mark.parametrize("attack", [_older, _drop])
def test_an_altered_tag_is_refused_with_both_digests(
    house: Any,
    attack: Callable[[Any], None],
    use: Callable[[Any], None],
) -> None:
    house.go_live("spring", "score@1.0.0")
    house.go_live("summer", "score@1.1.0")
    use(house)
    attack(house)
    with pytest.raises(DigestMismatch) as refused:
        use(house)
    assert (refused.value.details["expected"], refused.value.details["actual"]) == (
        digest_of(house.new),
        digest_of(house.old) if attack is _older else "no such tag",
    )


def test_an_altered_pointer_is_refused_with_both_digests(house: Any) -> None:
    spring = house.go_live("spring", "score@1.0.0")
    summer = house.go_live("summer", "score@1.1.0")
    with house.stores.db.transaction() as tx:
        mine = ENVIRONMENTS.c.name == "development"
        tx.execute(update(ENVIRONMENTS).where(mine).values(release=spring))
    for use in (_download, _submit):
        with pytest.raises(DigestMismatch) as refused:
            use(house)
        assert refused.value.details["expected"] == summer
        assert refused.value.details["actual"] == spring


def test_altered_bytes_are_refused_by_whatever_follows(house: Any) -> None:
    house.go_live("spring", "score@1.0.0")
    altered = house.old.replace(b"old", b"odd")
    overwrite(house, digest_of(house.old), altered)
    for use in (_download, _submit):
        with pytest.raises(DigestMismatch) as refused:
            use(house)
        assert refused.value.details["expected"] == digest_of(house.old)
        assert refused.value.details["actual"] == digest_of(altered)


# -- schedules and the snapshot ----------------------------------------------------------------


def an_hour_later(house: Any) -> Any:
    """The schedule, after it was due once more."""
    house.stores.clock.advance(3600.0)
    house.platform.scheduler.tick()
    [found] = list_schedules(house.stores)
    return found


@pytest.mark.parametrize("tag", ["development", None])
def test_a_schedule_follows_and_refuses_altered_bytes(house: Any, tag: str | None) -> None:
    house.go_live("spring", "score@1.0.0")
    new = NewSchedule("nightly", "development", PipelineChoice("score", tag), "@hourly")
    add_schedule(house.platform, replace(new, max_concurrency=9), by="ann")
    an_hour_later(house)
    house.go_live("summer", "score@1.1.0")
    an_hour_later(house)
    ran = [one.body["pipeline_digest"] for one in house.facts("run.requested")]
    assert ran == [digest_of(house.old), digest_of(house.new)]
    altered = house.new.replace(b"new", b"odd")
    overwrite(house, digest_of(house.new), altered)
    said = an_hour_later(house).last_error
    assert str(digest_of(house.new)) in said
    assert str(digest_of(altered)) in said
    assert len(house.facts("run.requested")) == 2


def test_the_snapshot_is_not_written_of_an_altered_wheel(house: Any) -> None:
    apply_project(house.stores, DEPLOYED, "seamline.toml", by="ann")
    model = house.register("1.0.0")
    spring = house.go_live("spring", "score@1.0.0")
    asked = house.ask("summer", "score@1.0.0", models=("late@1.0.0",))
    data = bytearray(house.stores.blobs.path_of(model.wheel_digest).read_bytes())
    data[len(data) // 2] ^= 1
    overwrite(house, model.wheel_digest, bytes(data))
    with house.stores.db.read() as connection:
        summer = find_release(connection, asked.release)
    with pytest.raises(DigestMismatch) as refused:
        write_environment_snapshot(house.platform, "development", summer, caused_by=None)
    assert refused.value.details["expected"] == model.wheel_digest
    assert refused.value.details["actual"] == digest_of(bytes(data))
    house.settle()
    with house.stores.db.read() as connection:
        found = find_promotion(connection, asked.id)
    assert found.phase is PromotionPhase.FAILED
    assert model.wheel_digest in found.reason
    assert str(digest_of(bytes(data))) in found.reason
    path = snapshot_path(house.stores.root, "development")
    assert read_snapshot(path, house.platform.key.public).release == spring


def overwrite(house: Any, digest: str, data: bytes) -> None:
    path = house.stores.blobs.path_of(str(digest))
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_tag_on_its_way_is_waited_for(house: Any) -> None:
    """Between the pointer's move and the tag's, neither is wrong."""
    stores = house.stores
    house.go_live("spring", "score@1.0.0")
    made = make_release(house.platform, "summer", [], ["score@1.1.0"], by="ann")
    request_promotion(stores, made.digest, "development", by="ann")
    while len(house.facts("environment.changed")) < 2:
        house.plane.loop.step()
    with pytest.raises(Unavailable, match="on its way"):
        _download(house)
    house.settle()
    _download(house)


def test_what_was_live_before_there_were_such_tags_is_caught_up_with(
    house: Any,
) -> None:
    house.go_live("spring", "score@1.0.0")
    with house.stores.db.transaction() as tx:
        tx.execute(delete(PIPELINE_TAGS).where(PIPELINE_TAGS.c.tag == "development"))
    for _ in range(2):
        follow_where_behind(house.platform)
        _download(house)
    assert len(house.facts("pipeline.tag_moved")) == 4, "two of people, and one each time"


# -- aliases ---------------------------------------------------------------------------------


def test_an_environments_name_is_a_models_alias(house: Any) -> None:
    stores = house.stores
    house.register("1.0.0")
    with pytest.raises(Refused, match="No version of late is live in development: no release is"):
        find_model(stores, "late", "development")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    house.register("1.1.0")
    assert find_or_explain(house.platform, "late", "development").version == "1.0.0"
    assert find_model(stores, "late", "dataops").version == "1.1.0"
    with pytest.raises(Refused, match="is live in staging: no release is"):
        find_model(stores, "late", "staging")
    with pytest.raises(NotFound):
        find_model(stores, "lat", "development")


def test_an_alias_of_an_altered_row_is_refused_with_both_digests(house: Any) -> None:
    model = house.register("1.0.0")
    house.go_live("spring", "score@1.0.0", models=("late@1.0.0",))
    evil = str(house.stores.blobs.put(b"evil"))
    with house.stores.db.transaction() as tx:
        tx.execute(update(MODEL_VERSIONS).values(wheel_digest=evil))
    with pytest.raises(DigestMismatch) as refused:
        find_model(house.stores, "late", "development")
    assert refused.value.details["expected"] == model.wheel_digest
    assert refused.value.details["actual"] == evil


def test_a_release_holds_one_version_of_a_pipeline(house: Any) -> None:
    """Its tag in an environment could not tell which."""
    both = ["score@1.0.0", "score@1.1.0"]
    with pytest.raises(InvalidInput, match=r"score comes as 1\.0\.0 and as 1\.1\.0"):
        make_release(house.platform, "both", [], both, by="ann")
