"""What is known of a flight two hours before its scheduled departure."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11", packages_to_install=["polars==2.1.0"])
def prepare_features(
    flights: Input[Dataset],
    weather: Input[Dataset],
    since: str,
    until: str,
    features: Output[Dataset],
):
    """Join each flight with the weather at its origin three hours before it leaves.

    One Parquet file: keys, features, `late` (null for a flight that never arrived as planned).
    `since` is inclusive, `until` exclusive; both are ISO dates and may be empty.
    """
    from datetime import date

    import polars as pl

    observed = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]

    def read(folder):
        # The partition folders carry the flight's local date; reading it from there lets the
        # date filter below skip whole days.
        return pl.scan_parquet(f"{folder}/**/*.parquet", hive_schema={"ds": pl.Date})

    def utc(table):
        # `time_hour` is UTC, although `hour` beside it is local: join on this one only.
        if table.collect_schema()["time_hour"] == pl.String:
            return pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
        return pl.col("time_hour").cast(pl.Datetime("us", "UTC"))

    rows = read(flights.path)
    if since:
        rows = rows.filter(pl.col("ds") >= date.fromisoformat(since))
    if until:
        rows = rows.filter(pl.col("ds") < date.fromisoformat(until))
    sky = read(weather.path)
    known = sky.select(
        "origin",
        # Predicted two hours ahead, published within the hour: the newest weather is 3 h old.
        utc(sky).dt.offset_by("3h").alias("departs_at"),
        *(pl.col(name).cast(pl.Float64) for name in observed),
    )
    # Tomorrow's flights have no arrival yet.
    arrived = "arr_delay" in rows.collect_schema()
    delay = pl.col("arr_delay") if arrived else pl.lit(None)
    rows.select(
        *("year", "month", "day", "carrier", "flight", "origin", "ds"),
        utc(rows).alias("departs_at"),
        "dest",
        *(pl.col(name).cast(pl.Int64) for name in ("hour", "distance")),
        pl.col("ds").dt.weekday().cast(pl.Int64).alias("weekday"),
        (delay.cast(pl.Float64) > 15).alias("late"),
    ).join(known, on=["origin", "departs_at"], how="left", validate="m:1").sort(
        "ds", "departs_at", "carrier", "flight", "origin"
    ).collect().write_parquet(features.path)
    features.metadata["since"] = since
    features.metadata["until"] = until
