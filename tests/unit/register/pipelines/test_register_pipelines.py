from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest

from seamline.domain.clock import ManualClock
from seamline.domain.errors import Conflict, DigestMismatch, InvalidInput, NotFound, Refused
from seamline.register.pipelines import catalogue, publishing
from seamline.register.pipelines.contracts import no_releases
from seamline.store.facts import read_facts
from seamline.store.stores import Stores


def ir(name: str = "ml_model_1", note: str = "") -> bytes:
    return (
        f"# {note}\nschemaVersion: 2.1.0\npipelineInfo: {{name: {name}}}\nroot: {{dag: {{}}}}\n"
        "---\nplatforms: {}\n"
    ).encode()


def tags_of(stores: Stores, package: str = "ml-model-1") -> dict[str, str]:
    return {tag.tag: tag.digest for tag in catalogue.list_tags(stores, package)}


def test_bytes_names_and_tags(stores: Stores, clock: ManualClock) -> None:
    first = publishing.publish_pipeline(stores, ir(), ["1.0.0", "latest", "latest"], by="ada")
    assert first.package == "ml-model-1"
    clock.advance(1)
    assert publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada") == first
    second = publishing.publish_pipeline(stores, ir(note="2"), ["1.1.0", "latest"], by="ada")
    assert tags_of(stores) == {
        "1.0.0": first.digest,
        "1.1.0": second.digest,
        "latest": second.digest,
    }
    for reference in ("1.0.0", first.digest):
        assert catalogue.read_pipeline(stores, "ML_model_1", reference) == ir()
    versions = catalogue.list_versions(stores, "ml-model-1")
    assert [one.digest for one in versions] == [second.digest, first.digest]
    assert versions[1].published_by == "ada"
    package = catalogue.find_package(stores, "ml-model-1")
    assert package.created_at < package.updated_at
    with stores.db.read() as connection:
        facts = read_facts(connection)
    assert [(fact.kind, fact.body.get("tag"), fact.body.get("before")) for fact in facts] == [
        ("pipeline.published", None, None),
        ("pipeline.tag_moved", "1.0.0", None),
        ("pipeline.tag_moved", "latest", None),
        ("pipeline.published", None, None),
        ("pipeline.tag_moved", "1.1.0", None),
        ("pipeline.tag_moved", "latest", first.digest),
    ]


def test_three_part_tags_never_move(stores: Stores) -> None:
    first = publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada")
    with pytest.raises(Conflict, match=r"1\.0\.0"):
        publishing.publish_pipeline(stores, ir(note="2"), ["1.0.0"], by="ada")
    assert len(catalogue.list_versions(stores, "ml-model-1")) == 1  # all or nothing
    second = publishing.publish_pipeline(stores, ir(note="2"), by="ada")
    with pytest.raises(Conflict):
        publishing.tag_pipeline(stores, "ml-model-1", second.digest, "1.0.0", by="ada")
    publishing.tag_pipeline(stores, "ml-model-1", first.digest, "1.0.0", by="ada")
    publishing.delete_tag(stores, "ml-model-1", "1.0.0", by="ada")
    assert tags_of(stores) == {}
    with pytest.raises(Conflict):
        publishing.tag_pipeline(stores, "ml-model-1", second.digest, "1.0.0", by="ada")
    publishing.tag_pipeline(stores, "ml-model-1", first.digest, "1.0.0", by="ada")
    assert tags_of(stores) == {"1.0.0": first.digest}


def test_other_tags_move_but_are_created_once(stores: Stores) -> None:
    first = publishing.publish_pipeline(stores, ir(), ["dev"], by="ada")
    second = publishing.publish_pipeline(stores, ir(note="2"), by="ada")
    with pytest.raises(Conflict, match="update"):
        publishing.tag_pipeline(
            stores, "ml-model-1", second.digest, "dev", by="ada", create_only=True
        )
    moved = publishing.tag_pipeline(stores, "ml-model-1", second.digest, "dev", by="ada")
    assert moved.digest == second.digest
    publishing.delete_tag(stores, "ml-model-1", "dev", by="ada")
    publishing.tag_pipeline(stores, "ml-model-1", first.digest, "dev", by="ada", create_only=True)


def test_deleting(stores: Stores) -> None:
    first = publishing.publish_pipeline(stores, ir(), ["1.0.0", "dev"], by="ada")
    with pytest.raises(Refused, match=r"1\.0\.0, dev"):
        publishing.delete_version(
            stores, "ml-model-1", first.digest, by="ada", releases_of=no_releases
        )
    publishing.delete_package(stores, "ml-model-1", by="ada", releases_of=no_releases)
    assert catalogue.list_packages(stores) == []
    assert stores.blobs.get(first.digest) == ir()
    with pytest.raises(Conflict):
        publishing.publish_pipeline(stores, ir(note="2"), ["1.0.0"], by="ada")
    publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada")


def test_repositories_are_apart(stores: Stores) -> None:
    publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada", repository="team/two")
    assert catalogue.list_packages(stores) == []
    publishing.publish_pipeline(stores, ir(note="2"), ["1.0.0"], by="ada")
    assert catalogue.read_pipeline(stores, "ml-model-1", "1.0.0", repository="team/two") == ir()
    with pytest.raises(InvalidInput):
        publishing.publish_pipeline(stores, ir(), by="ada", repository="../x")


def test_what_is_not_there_names_the_nearest(stores: Stores) -> None:
    publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada")
    with pytest.raises(NotFound, match=r"Did you mean ml-model-1\?"):
        catalogue.find_pipeline(stores, "ml_model_2", "1.0.0")
    with pytest.raises(NotFound, match=r"Did you mean 1\.0\.0\?"):
        catalogue.find_pipeline(stores, "ml-model-1", "1.0.1")
    with pytest.raises(NotFound):
        catalogue.find_pipeline(stores, "ml-model-1", "sha256:" + "0" * 64)


def test_altered_bytes_are_refused(stores: Stores) -> None:
    version = publishing.publish_pipeline(stores, ir(), by="ada")
    stores.blobs.path_of(version.digest).write_bytes(b"altered")
    with pytest.raises(DigestMismatch, match=version.digest):
        catalogue.read_pipeline(stores, "ml-model-1", version.digest)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"\x00\xff", "YAML"),
        (b"a: [", "YAML"),
        (b"- 1", "no mapping"),
        (b"a: 1", "no schemaVersion, pipelineInfo, root"),
        (b"{schemaVersion: 1.0, pipelineInfo: {name: a}, root: {}}", "schemaVersion"),
        (b"{schemaVersion: 2.1.0, pipelineInfo: {name: a}, root: 3}", "root"),
        (b"{schemaVersion: 2.1.0, pipelineInfo: {}, root: {}}", "no name"),
        (b"{schemaVersion: 2.1.0, pipelineInfo: {name: a/b}, root: {}}", "'a/b'"),
        (b"{schemaVersion: 2.1.0, pipelineInfo: {name: packages}, root: {}}", "reserved"),
        (b"!!python/object/apply:os.system [echo]", "YAML"),
        (b"[" * 100_000 + b"]" * 100_000, "deeper"),
    ],
)
def test_what_is_no_compiled_pipeline(sqlite_stores: Stores, data: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        publishing.publish_pipeline(sqlite_stores, data, by="ada")


@pytest.mark.parametrize("tag", ["", "sha256:" + "0" * 64, "a b", "-x", "a/b", "x" * 129])
def test_tags_that_cannot_be(sqlite_stores: Stores, tag: str) -> None:
    with pytest.raises(InvalidInput, match="tag"):
        publishing.publish_pipeline(sqlite_stores, ir(), [tag], by="ada")


def beside(
    monkeypatch: pytest.MonkeyPatch, where: str, deed: Callable[[], object]
) -> Future[object]:
    """`deed` begins on another thread once `where` was looked at, and is waited for there, unless
    it waits for us."""
    look, done = getattr(publishing, where), Future[object]()

    def do() -> None:
        try:
            done.set_result(deed())
        except Exception as error:
            done.set_exception(error)

    def looked(*given: Any, **more: Any) -> Any:
        found = look(*given, **more)
        monkeypatch.setattr(publishing, where, look)
        threading.Thread(target=do).start()
        wait([done], 0.3)
        return found

    monkeypatch.setattr(publishing, where, looked)
    return done


def test_a_tag_is_deleted_once(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    publishing.publish_pipeline(stores, ir(), ["latest"], by="ada")
    delete = partial(publishing.delete_tag, stores, "ml-model-1", "latest", by="ada")
    other = beside(monkeypatch, "find_tag", delete)
    delete()
    with pytest.raises(NotFound, match="latest"):
        other.result(10)
    with stores.db.read() as connection:
        moved = read_facts(connection, kinds=["pipeline.tag_moved"])
    assert [fact.body["after"] is None for fact in moved] == [False, True]


def test_what_is_published_while_a_package_is_deleted_is_whole(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    publishing.publish_pipeline(stores, ir(), ["1.0.0"], by="ada")
    publish = partial(publishing.publish_pipeline, stores, ir(note="2"), ["latest"], by="ada")
    other = beside(monkeypatch, "list_versions", publish)
    publishing.delete_package(stores, "ml-model-1", by="ada", releases_of=no_releases)
    published = other.result(10)
    assert isinstance(published, catalogue.PipelineVersion)
    assert tags_of(stores) == {"latest": published.digest}
