from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import Bringer, ingest, take_in
from seamline.data.mirror.likeness import check_likeness
from seamline.data.mirror.mirrored import (
    Mirrored,
    find_mirrored,
    mirror_declaration,
    mirror_delivery,
    record_mirror,
)
from seamline.data.mirror.recipe import Mask, MirrorDeclaration
from seamline.data.versions import DatasetVersion, read_version
from seamline.domain.errors import InvalidInput, NotFound
from seamline.domain.states import Verdict
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.secrets import SecretKind, set_values

ROWS = 4_000
RECIPE = MirrorDeclaration(
    fraction=0.5,
    mask={
        "name": Mask.HASH,
        "mail": Mask.DROP,
        "city": Mask.SHUFFLE,
        "agent": Mask.CONSTANT,
    },
    constants={"agent": "somebody"},
    secret="mirror",
)
PEOPLE = DatasetDeclaration("people", time="at", keys=("id",), mirror=RECIPE)


@pytest.fixture
def people(stores: Stores, tmp_path: Path) -> DatasetVersion:
    frame = pl.DataFrame({"id": range(ROWS)}).with_columns(
        at=pl.format("2013-01-{}T12:00:00Z", (pl.col("id") % 9 + 10)),
        age=pl.col("id") * 7919 % 90,
        name=pl.format("name {}", pl.col("id") % 100),
        mail=pl.format("{}@example.org", pl.col("id")),
        city=pl.format("city {}", pl.col("id") % 7),
        agent=pl.when(pl.col("id") % 4 > 0).then(pl.format("agent {}", pl.col("id") % 3)),
    )
    path = tmp_path / "people.csv"
    frame.write_csv(path)
    keep_key(stores, b"0123456789abcdef")
    return ingest(stores, PEOPLE, path, source="people.csv", by="ada").version


def keep_key(stores: Stores, key: bytes) -> None:
    set_values(stores, "production", SecretKind.SECRET, "mirror", {"key": key}, by="ada")


def mirrored(
    stores: Stores, version: DatasetVersion, recipe: MirrorDeclaration = RECIPE
) -> tuple[Mirrored, bool]:
    declared = dataclasses.replace(PEOPLE, mirror=recipe)
    delivery = mirror_delivery(stores, version, declared, recipe, "production")
    taken = take_in(
        stores, mirror_declaration(declared, "people-staging"), delivery, Bringer("bob")
    )
    made = Mirrored(taken.version, version, recipe)
    record_mirror(stores, made, by="bob")
    return made, taken.is_new


def test_rows_are_sampled_by_key_and_masked_by_column(
    stores: Stores, people: DatasetVersion
) -> None:
    made, is_new = mirrored(stores, people)
    before = read_version(stores, people)
    after = read_version(stores, made.version)
    assert is_new and abs(after.height - ROWS / 2) < 200
    assert after.columns == ["id", "at", "age", "name", "city", "agent", "ds"]
    both = after.join(before, on="id", suffix="_was", maintain_order="left")
    assert both.height == after.height
    for kept in ("at", "age", "ds"):
        assert both[kept].equals(both[f"{kept}_was"].alias(kept))
    hashes = both.select("name", "name_was").unique()
    assert hashes.height == hashes["name"].n_unique() == hashes["name_was"].n_unique()
    assert hashes["name"].str.contains(r"^[0-9a-f]{32}$").all()
    assert both["city"].value_counts(sort=True)["count"].sum() == both.height
    assert sorted(both["city"]) == sorted(both["city_was"])
    assert 0.05 < (both["city"] == both["city_was"]).mean() < 0.25  # 1 in 7 by chance
    assert set(both["agent"]) == {"somebody", None}
    assert both["agent"].is_null().equals(both["agent_was"].is_null().alias("agent"))


def test_the_same_is_mirrored_once_and_another_key_is_another_delivery(
    stores: Stores, people: DatasetVersion
) -> None:
    first, _ = mirrored(stores, people)
    again, is_new = mirrored(stores, people)
    assert (again.version, is_new) == (first.version, False)
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=["dataset.mirrored"])
    assert (fact.by, fact.body["source"], fact.body["source_digest"]) == (
        "bob",
        "people@1",
        people.digest,
    )
    assert fact.body["recipe_digest"] == RECIPE.digest
    assert find_mirrored(stores, first.version) == first
    assert find_mirrored(stores, people) is None
    keep_key(stores, b"another key, as long")
    other, is_new = mirrored(stores, people)
    assert is_new and other.version.version == 2
    names = [set(read_version(stores, one.version)["name"]) for one in (first, other)]
    assert not names[0] & names[1]


def test_a_mirror_is_like_its_source_unless_rows_are_chosen_badly(
    stores: Stores, people: DatasetVersion
) -> None:
    made, _ = mirrored(stores, people)
    found = check_likeness(stores, made, PEOPLE)
    assert found.verdict is Verdict.PASS, found.sentence
    assert [one.column for one in found.columns] == ["age"]
    assert found.masked == ("agent", "city", "mail", "name")
    strict = dataclasses.replace(RECIPE, max_psi=1e-9)
    told = check_likeness(stores, dataclasses.replace(made, recipe=strict), PEOPLE)
    assert told.verdict is Verdict.FAIL and "age" in told.sentence
    few, _ = mirrored(stores, people, dataclasses.replace(RECIPE, fraction=0.05))
    assert check_likeness(stores, few, PEOPLE).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("mask", "error", "told"),
    [
        ({"nmae": Mask.DROP}, NotFound, "Did you mean name"),
        ({"at": Mask.DROP}, InvalidInput, "tells the day"),
        ({"id": Mask.SHUFFLE}, InvalidInput, "is a key"),
    ],
)
def test_recipes_that_cannot_be(
    stores: Stores,
    people: DatasetVersion,
    mask: dict[str, Mask],
    error: type[Exception],
    told: str,
) -> None:
    recipe = MirrorDeclaration(mask=mask, secret="mirror")
    with pytest.raises(error, match=told):
        mirror_delivery(stores, people, PEOPLE, recipe, "production")


def test_a_key_that_could_be_guessed_is_refused(stores: Stores, people: DatasetVersion) -> None:
    keep_key(stores, b"short")
    with pytest.raises(InvalidInput, match="5 bytes"):
        mirror_delivery(stores, people, PEOPLE, RECIPE, "production")


@pytest.mark.parametrize(
    "said",
    [
        {"fraction": 0.0},
        {"fraction": 1.1},
        {"max_psi": 0.0},
        {"mask": {"name": Mask.HASH}},
        {"mask": {"name": Mask.CONSTANT}},
        {"constants": {"name": "x"}},
    ],
)
def test_what_cannot_be_declared(said: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        MirrorDeclaration(**said)  # type: ignore[arg-type]


def test_the_recipe_survives_being_stored() -> None:
    assert DatasetDeclaration.from_json(PEOPLE.to_json()) == PEOPLE
