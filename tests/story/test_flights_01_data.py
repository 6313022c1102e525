"""Step 1: months become versions; a delivery that breaks the contract leaves only a fact."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def played(world):
    return world.play("data")


def test_each_month_is_a_version(world):
    rows = 0
    for month in range(1, 8):
        found = world.seamline("data", "show", f"flights@{month}")
        rows += len(world.csv(month))
        assert (found["version"], found["rows"]) == (month, rows)
        assert found["rows_added"] == len(world.csv(month))
        assert found["source"] == f"flights-2013-{month:02}.csv"
        assert found["committed_by"] == "ada"


def test_a_version_is_partitioned_by_day_and_read_by_stock_libraries(world):
    found = world.seamline("data", "show", "flights@6")
    days = {one["partition"] for one in found["files"]}
    assert len(days) == 181
    assert (min(days), max(days)) == ("2013-01-01", "2013-06-30")
    assert sum(one["rows"] for one in found["files"]) == found["rows"]
    rows = world.rows("flights@2")
    assert rows.height == len(world.csv(1, 2))
    distances = sum(int(row["distance"]) for row in world.csv(1, 2))
    assert rows["distance"].sum() == distances


def test_its_profile_and_schema_are_those_of_the_rows(world):
    found = world.seamline("data", "show", "flights@6")
    column = next(one for one in found["columns"] if one["name"] == "arr_delay")
    delays = [world.module.number(row["arr_delay"]) for row in world.csv(*range(1, 7))]
    known = [delay for delay in delays if delay is not None]
    assert column["missing"] == pytest.approx(1 - len(known) / len(delays))
    assert column["mean"] == pytest.approx(sum(known) / len(known))
    assert (column["min"], column["max"]) == (min(known), max(known))
    types = {one["name"]: one["dtype"] for one in found["schema"]}
    assert (types["distance"], types["time_hour"]) == ("int", "datetime")


def test_the_refusal_names_column_count_examples_and_first_bad_day(world):
    (fact,) = world.facts("dataset.delivery_refused")[:1]
    bad = [row for row in world.csv(7) if int(row["day"]) >= 9 and row["carrier"] == "HA"]
    (violation,) = fact["body"]["violations"]
    assert violation.startswith(f"distance: {len(bad)} of {len(world.csv(7)):,} values")
    assert "'n/a', '12,50', 'EUR 20'" in violation
    assert "first bad day 2013-07-09" in violation
    assert fact["by"] == "ada"


def test_a_refused_delivery_changes_nothing(world):
    before = world.seamline("data", "show", "flights")
    facts = len(world.facts("dataset.delivery_refused"))
    path = world.demo.work / "flights-2013-07-as-delivered.csv"
    said = world.refusal("data", "ingest", "flights", path, who="ada")
    assert "was refused" in said
    after = world.seamline("data", "show", "flights")
    assert (after["version"], after["rows"], after["digest"]) == (
        before["version"],
        before["rows"],
        before["digest"],
    )
    assert len(world.facts("dataset.delivery_refused")) == facts + 1


def test_the_same_delivery_again_is_the_same_version(world):
    path = world.demo.work / "flights-2013-03.csv"
    again = world.seamline("data", "ingest", "flights", path, who="ada")
    assert (again["version"], again["is_new"]) == (3, False)


def test_bad_input_is_refused_in_words(world, tmp_path):
    said = world.refusal("data", "ingest", "fligths", world.demo.work / "flights-2013-03.csv")
    assert "flights" in said.replace("fligths", "")
    rows = [{key: value for key, value in row.items() if key != "dest"} for row in world.csv(8)]
    path = world.demo.year.write(tmp_path / "no-dest.csv", rows[:100])
    assert "dest" in world.refusal("data", "ingest", "flights", path, who="ada")
    assert "bea" in world.refusal("data", "ingest", "flights", path, who="bea")
