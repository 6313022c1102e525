"""The real deliveries that the tour tells of."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from seamline.data.declaration import DatasetDeclaration
from seamline.data.ingest import ingest
from seamline.data.versions import find_version, show_version, version_files
from seamline.domain.errors import Refused
from seamline.store.stores import Stores

FLIGHTS = DatasetDeclaration(
    "flights",
    date=("year", "month", "day"),
    keys=("year", "month", "day", "carrier", "flight", "origin", "sched_dep_time"),
    label="arr_delay",
)


def test_months_of_flights_then_text_in_distance(
    stores: Stores, flights_by_month: dict[int, pl.DataFrame], tmp_path: Path
) -> None:
    for month in (1, 2):
        path = tmp_path / f"flights-2013-{month:02}.csv"
        flights_by_month[month].write_csv(path)
        ingest(stores, FLIGHTS, path, source=path.name, by="ada")
    february = find_version(stores, "flights")
    assert (february.version, february.rows, february.rows_added) == (2, 51_955, 24_951)
    assert dict(february.schema)["distance"] == "int"
    assert dict(february.schema)["time_hour"] == "datetime"
    files = version_files(stores, february)
    assert len(files) == len({file.partition for file in files}) == 31 + 28

    july = flights_by_month[7].with_row_index("row")
    from_ninth = pl.col("day").cast(pl.Int64) >= 9
    spoilt = from_ninth & (pl.col("row") % 300 == 0)
    texts = pl.Series(["n/a", "12,50", "EUR 20"]).gather(july["row"].cast(pl.Int64) // 300 % 3)
    july = july.with_columns(
        pl.when(spoilt).then(texts).otherwise(pl.col("distance")).alias("distance")
    )
    count = july.filter(spoilt).height
    first_day = july.filter(spoilt)["day"].cast(pl.Int64).min()
    path = tmp_path / "flights-2013-07.csv"
    july.drop("row").write_csv(path)
    with pytest.raises(Refused) as caught:
        ingest(stores, FLIGHTS, path, source=path.name, by="ada")
    message = caught.value.message
    assert "flights-2013-07.csv breaks the contract of dataset flights" in message
    assert f"distance: {count} of 29,425 values are not int, e.g. " in message
    assert all(repr(text) in message for text in ("n/a", "12,50", "EUR 20"))
    assert f"first bad day 2013-07-{first_day:02}." in message
    assert find_version(stores, "flights") == february


def test_a_year_of_weather_by_local_day(stores: Stores, nycflights: Path, tmp_path: Path) -> None:
    """January's sensors never failed; that single hours of later months did is no refusal."""
    weather = DatasetDeclaration("weather", time="time_hour", zone="America/New_York")
    frame = pl.read_csv(nycflights / "weather.csv", infer_schema=False)
    for month in (1, 8):
        path = tmp_path / f"weather-{month}.csv"
        frame.filter(pl.col("month") == str(month)).write_csv(path)
        ingest(stores, weather, path, source=path.name, by="ada")
    version = find_version(stores, "weather")
    days = sorted({file.partition for file in version_files(stores, version)})
    assert (days[0], days[-1], len(days)) == ("2013-01-01", "2013-08-31", 62)
    columns = {column["name"]: column for column in show_version(stores, version)["columns"]}
    assert columns["temp"]["missing"] == 1 / version.rows
    assert columns["origin"]["top"][0]["value"] in ("EWR", "JFK", "LGA")
