"""Publishing under x.y.z keeps the promises of the version before, or says whom it would break."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete

from seamline.app.register.compare_pipelines import (
    Pinned,
    check_pipeline,
    diff_pipelines,
    list_outdated,
)
from seamline.app.register.pipeline_users import releases_of
from seamline.app.register.show_pipeline import show_pipeline
from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, InvalidInput, NotFound, Refused
from seamline.promote.release import Pin, Release, record_release
from seamline.register.pipelines import catalogue, publishing
from seamline.register.rows import PIPELINE_PARTS, PIPELINE_SHAPES
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

DAY = {"day": {"parameterType": "STRING"}}
HOUR = {"hour": {"parameterType": "NUMBER_INTEGER"}}
OPTIONAL_HOUR = {"hour": {"parameterType": "NUMBER_INTEGER", "defaultValue": 6}}


def component(inputs: dict[str, Any], code: str = "1") -> dict[str, Any]:
    return {
        "dag": {"tasks": {"work": {"componentRef": {"name": "comp-work"}, "code": code}}},
        "inputDefinitions": {"parameters": inputs},
    }


def ir(inputs: dict[str, Any] = DAY, name: str = "delays", code: str = "1") -> bytes:
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": name},
        "components": {"comp-work": {"inputDefinitions": {}}},
        "root": component(inputs, code),
    }
    return json.dumps(document).encode()


def aggregated(inputs: dict[str, Any] = DAY, name: str = "all-models", code: str = "1") -> bytes:
    """As the compiler does it: the sub-pipeline under a new name, its components renamed."""
    inner = component(inputs, code)
    inner["dag"]["tasks"]["work"]["componentRef"]["name"] = "comp-work-2"
    document = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": name},
        "components": {"comp-work-2": {"inputDefinitions": {}}, "comp-delays-2": inner},
        "root": {"dag": {"tasks": {"one": {"componentRef": {"name": "comp-delays-2"}}}}},
    }
    return json.dumps(document).encode()


@pytest.fixture
def publish(stores: Stores, clock: ManualClock) -> Callable[..., str]:
    def run(data: bytes, *tags: str) -> str:
        clock.advance(1)
        return publishing.publish_pipeline(
            stores, data, tags, by="ada", releases_of=releases_of
        ).digest

    return run


@pytest.fixture
def release(stores: Stores) -> Callable[[str, str], None]:
    def run(alias: str, digest: str) -> None:
        record_release(
            stores, Release(pipelines=(Pin("delays", "1.0.0", digest),)), alias, by="ada"
        )

    return run


Publish = Callable[..., str]


def test_a_break_under_a_minor_version(
    stores: Stores, publish: Publish, release: Callable[[str, str], None]
) -> None:
    first = publish(ir(), "1.0.0", "latest")
    publish(aggregated(), "2.4.0")
    release("spring", first)
    before = snapshot(stores)
    with pytest.raises(Refused) as refused:
        publish(ir(HOUR), "latest", "1.1.0")
    said = str(refused.value)
    assert "delays 1.1.0 breaks what 1.0.0 promised" in said
    assert "input day removed" in said
    assert "input hour added" in said
    assert "all-models@2.4.0" in said
    assert "release spring" in said
    assert "2.0.0" in refused.value.next_step
    assert snapshot(stores) == before  # nothing is stored, no tag has moved, nothing is stated
    second = publish(ir(HOUR), "latest", "2.0.0")
    assert second != first


def snapshot(stores: Stores) -> tuple[Any, ...]:
    tags = {tag.tag: tag.digest for tag in catalogue.list_tags(stores, "delays")}
    versions = [one.digest for one in catalogue.list_versions(stores, "delays")]
    files = sorted(path.name for path in stores.blobs.root.rglob("*") if path.is_file())
    with stores.db.read() as connection:
        shapes = connection.execute(PIPELINE_SHAPES.select()).all()
        return tags, versions, files, len(read_facts(connection)), len(shapes)


def test_without_a_version_nothing_is_refused(publish: Publish) -> None:
    publish(ir(), "1.0.0", "latest")
    publish(ir(HOUR), "latest", "dev")
    publish(ir(OPTIONAL_HOUR))


def test_which_version_is_followed(publish: Publish) -> None:
    publish(ir(), "1.0.0")
    publish(ir(HOUR), "2.0.0")
    publish(ir(DAY | OPTIONAL_HOUR), "1.0.1")  # follows 1.0.0, not 2.0.0
    with pytest.raises(Refused, match=r"1\.0\.1"):
        publish(ir(code="2"), "1.1.0")  # has no hour any more
    with pytest.raises(Refused, match=r"what 2\.0\.0 promised"):
        publish(ir(code="3"), "2.1.0")


def test_two_publishers_at_the_same_moment(stores: Stores, publish: Publish) -> None:
    """1.2.0 breaks 1.1.0, and not 1.0.0: it may come first, or not at all."""
    for attempt in range(4):
        name = f"delays-{attempt}"
        publish(ir(name=name), "1.0.0")
        start = threading.Barrier(2)

        def attack(digest: str, tag: str, name: str = name, start: Any = start) -> bool:
            start.wait()
            try:
                publishing.tag_pipeline(stores, name, digest, tag, by="ada")
            except Refused:
                return False
            return True

        more, same = publish(ir(DAY | OPTIONAL_HOUR, name)), publish(ir(name=name, code="2"))
        with ThreadPoolExecutor(2) as pool:
            both = [(more, "1.1.0"), (same, "1.2.0")]
            first, second = pool.map(lambda one: attack(*one), both)
        with stores.db.read() as connection:
            moves = read_facts(connection, kinds=["pipeline.tag_moved"], subject=name)
        order = [fact.body["tag"] for fact in moves]
        assert first
        assert order == (["1.0.0", "1.2.0", "1.1.0"] if second else ["1.0.0", "1.1.0"])


def test_below_one_a_minor_version_may_break(publish: Publish) -> None:
    publish(ir(), "0.1.0")
    with pytest.raises(Refused, match=r"0\.2\.0"):
        publish(ir(HOUR), "0.1.1")
    publish(ir(HOUR), "0.2.0")
    publish(ir(OPTIONAL_HOUR), "1.0.0")


def test_the_first_version_may_do_anything(publish: Publish) -> None:
    publish(ir(), "dev")
    publish(ir(HOUR), "1.0.0")


def test_a_tag_set_later_is_held_to_the_same(stores: Stores, publish: Publish) -> None:
    publish(ir(), "1.0.0")
    second = publish(ir(HOUR), "dev")
    with pytest.raises(Refused, match="input day removed"):
        publishing.tag_pipeline(stores, "delays", second, "1.0.1", by="ada")
    publishing.tag_pipeline(stores, "delays", second, "2.0.0", by="ada")
    with pytest.raises(NotFound):
        publishing.tag_pipeline(stores, "delays", "sha256:" + "0" * 64, "3.0.0", by="ada")


def test_check_says_what_publishing_says(stores: Stores, publish: Publish) -> None:
    publish(ir(), "1.0.0", "latest")
    publish(aggregated(), "2.4.0")
    for tag, refused in (("1.1.0", True), ("2.0.0", False), ("dev", False)):
        for against in (None, "1.0.0", "latest", "delays@latest"):
            verdict = check_pipeline(stores, ir(HOUR), against=against, tag=tag)
            # Against a version it is told what breaks; a tag that is no version promises nothing,
            # but whoever names a version to compare with wants to know.
            wanted = refused or (tag == "dev" and against is not None)
            assert verdict.is_refused is wanted, (tag, against)
    verdict = check_pipeline(stores, ir(HOUR), against="1.0.0")
    assert verdict.is_refused
    assert verdict.consumers == ("all-models@2.4.0",)
    assert verdict.to_json()["next_version"] == "2.0.0"
    assert not check_pipeline(stores, ir(DAY | OPTIONAL_HOUR), against="1.0.0").is_refused
    assert len(catalogue.list_versions(stores, "delays")) == 1
    with pytest.raises(Conflict, match=r"1\.0\.0"):
        check_pipeline(stores, ir(HOUR), tag="1.0.0")
    with pytest.raises(InvalidInput, match="nothing to compare"):
        check_pipeline(stores, ir())
    with pytest.raises(NotFound, match=r"1\.0\.0"):
        check_pipeline(stores, ir(), against="1.0.1")
    assert not check_pipeline(stores, ir(name="new-one"), tag="1.0.0").is_refused


def test_consumers_of_old_and_new_workspaces(
    stores: Stores, publish: Publish, release: Callable[[str, str], None]
) -> None:
    first = publish(ir(), "1.0.0")
    second = publish(ir(code="2"), "1.0.1")
    publish(aggregated(), "1.0.0")
    publish(aggregated(code="2"), "1.1.0", "latest")
    other = publish(aggregated(name="others", code="2"))
    release("spring", second)
    with stores.db.transaction() as tx:  # as a version before this one left it
        tx.execute(delete(PIPELINE_PARTS))
        tx.execute(delete(PIPELINE_SHAPES))
    shown = show_pipeline(stores, "delays@1.0.1")
    assert [(one["package"], one["tags"]) for one in shown["consumers"]] == [
        ("all-models", ["1.1.0", "latest"]),
        ("others", []),
    ]
    assert [one["uses"] for one in shown["consumers"]] == [[second], [second]]
    assert shown["releases"] == ["spring"]
    others = shown["consumers_of_other_versions"]
    assert [(one["tags"], one["uses"]) for one in others] == [(["1.0.0"], [first])]
    assert shown["interface"]["inputs"] == {"day": {"type": "STRING", "optional": False}}
    with pytest.raises(InvalidInput, match="names no tag"):
        show_pipeline(stores, "delays")
    moves = [(one["tag"], one["before"], one["after"], one["by"]) for one in shown["history"]]
    assert moves == [("1.0.0", None, first, "ada"), ("1.0.1", None, second, "ada")]
    assert show_pipeline(stores, f"others@{other}")["consumers"] == []


def test_what_a_release_uses_is_not_deleted(
    stores: Stores, publish: Publish, release: Callable[[str, str], None]
) -> None:
    first = publish(ir(), "1.0.0")
    unused = publish(ir(code="2"))
    release("spring", first)
    release("summer", first)
    before = snapshot(stores)
    gone = {"by": "ada", "releases_of": releases_of}
    for attempt in (
        lambda: publishing.delete_version(stores, "delays", first, with_tags=True, **gone),
        lambda: publishing.delete_package(stores, "delays", **gone),
    ):
        with pytest.raises(Refused, match="release spring"):
            attempt()
        assert snapshot(stores) == before
    publishing.delete_version(stores, "delays", unused, **gone)


def test_diff(stores: Stores, publish: Publish) -> None:
    publish(ir(), "1.0.0")
    publish(aggregated(name="delays"), "2.0.0")
    found = diff_pipelines(stores, "delays@1.0.0", "delays@2.0.0")
    assert [one["what"] for one in found["changes"]] == ["removed"]
    assert not found["compatible"]
    assert found["components"] == {
        "added": ["delays-2", "work-2"],
        "removed": ["work"],
        "changed": [],
    }
    publish(ir().replace(b'"inputDefinitions": {}', b'"inputDefinitions": {"x": 1}'), "1.0.1")
    found = diff_pipelines(stores, "delays@1.0.0", "delays@1.0.1")
    assert (found["changes"], found["components"]["changed"]) == ([], ["work"])


def test_outdated(stores: Stores, publish: Publish) -> None:
    first = publish(ir(), "1.0.0", "latest")
    publish(ir(DAY | OPTIONAL_HOUR), "1.2.0", "latest")
    publish(ir(HOUR), "2.0.0")
    rows = list_outdated(
        stores,
        [
            Pinned("delays", "1.0.0", first),
            Pinned("delays", "latest", first),
            Pinned("delays", "2.0.0", first),
            Pinned("dleays", "1.0.0", first),
        ],
    )
    told = [(row["newest"], row["newest_compatible"], row["compatible"]) for row in rows]
    assert told[:3] == [("2.0.0", "1.2.0", False), ("latest", "latest", True), (None, None, True)]
    assert [line.partition(":")[0] for line in rows[0]["breaks"]] == [
        "input day removed",
        "input hour added",
    ]
    assert "Did you mean delays?" in rows[3]["problem"]
    assert rows[0]["problem"] is None
