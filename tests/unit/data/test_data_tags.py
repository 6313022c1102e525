from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.versions import DatasetVersion, find_version, parse_reference, read_version
from seamline.data.versions.removed import record_removals
from seamline.data.versions.tags import delete_tag, list_tags, tag_version
from seamline.domain.errors import Conflict, InvalidInput, NotFound, Refused
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores

Deliver = Callable[[str], Path]


@pytest.fixture
def versions(
    stores: Stores, calls: DatasetDeclaration, deliver: Deliver
) -> tuple[DatasetVersion, DatasetVersion]:
    first = deliver("1 2013-01-01T12:00:00Z 3.5")
    second = deliver("2 2013-01-02T12:00:00Z 4.5")
    return (
        ingest(stores, calls, first, source="a", by="ada").version,
        ingest(stores, calls, second, source="b", by="ada").version,
    )


Versions = tuple[DatasetVersion, DatasetVersion]


def test_a_tag_names_a_version_wherever_one_is_named(stores: Stores, versions: Versions) -> None:
    first, second = versions
    made, is_new = tag_version(stores, first, "golden", by="ada")
    assert is_new and (made.version, made.tagged_by) == (1, "ada")
    assert find_version(stores, "calls@golden") == first
    assert find_version(stores, "calls@latest") == second
    assert read_version(stores, find_version(stores, "calls@golden"))["id"].to_list() == [1]
    assert tag_version(stores, first, "golden", by="bob") == (made, False)
    tag_version(stores, second, "golden", by="bob")
    assert find_version(stores, "calls@golden") == second
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=["dataset.tag_moved"])
        assert verify_chain(connection).broken is None
    assert [(one.by, one.body["before"], one.body["after"]) for one in facts] == [
        ("ada", None, 1),
        ("bob", 1, 2),
    ]


def test_numbered_tags_never_move_and_never_come_back(stores: Stores, versions: Versions) -> None:
    first, second = versions
    tag_version(stores, first, "1.0.0", by="ada")
    with pytest.raises(Conflict, match=r"1\.0\.0 of dataset calls is at version 1"):
        tag_version(stores, second, "1.0.0", by="ada")
    delete_tag(stores, "calls", "1.0.0", by="ada")
    assert list_tags(stores, "calls") == []
    for version in versions:
        with pytest.raises(Conflict, match="was deleted"):
            tag_version(stores, version, "1.0.0", by="ada")
    with pytest.raises(NotFound):
        find_version(stores, "calls@1.0.0")


def test_a_deleted_tag_may_be_given_again(stores: Stores, versions: Versions) -> None:
    tag_version(stores, versions[0], "golden", by="ada")
    assert delete_tag(stores, "calls", "golden", by="ada").version == 1
    with pytest.raises(NotFound):
        delete_tag(stores, "calls", "golden", by="ada")
    assert tag_version(stores, versions[1], "golden", by="ada")[0].version == 2


@pytest.mark.parametrize("tag", ["latest", "7", "a b", "", "-x", "a/b"])
def test_what_cannot_be_a_tag(stores: Stores, versions: Versions, tag: str) -> None:
    with pytest.raises(InvalidInput):
        tag_version(stores, versions[0], tag, by="ada")


def test_unknown_tags_name_the_nearest(stores: Stores, versions: Versions) -> None:
    tag_version(stores, versions[0], "golden", by="ada")
    with pytest.raises(NotFound, match=r"Did you mean golden\?"):
        find_version(stores, "calls@goldne")
    with pytest.raises(NotFound, match=r"Did you mean calls\?"):
        find_version(stores, "cals@golden")


def test_a_version_without_rows_is_not_tagged_and_says_why_it_cannot_be_read(
    stores: Stores, versions: Versions
) -> None:
    with stores.db.transaction() as tx:
        record_removals(stores, tx, [(versions[0], "older than 90d")], by="ada")
    with pytest.raises(Refused, match="removed by retention"):
        tag_version(stores, versions[0], "golden", by="ada")


@pytest.mark.parametrize("text", ["calls@", "calls@1/", "calls@1/a/b", "calls@1234567890", "Calls"])
def test_what_names_no_version(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_reference(text)


def test_a_split_is_no_version(stores: Stores, versions: Versions) -> None:
    with pytest.raises(InvalidInput, match=r"Write calls@1\."):
        find_version(stores, "calls@1/train")
