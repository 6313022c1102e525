"""What is known of a flight two hours before its scheduled departure, late departures included."""

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
    """One Parquet file: keys, features, `part_of_day`, `late` (null for one that never arrived).

    `late_share`: whether a flight leaves late is seen 15 minutes after its time. Of those of the
    airport that were seen in the three hours up to two hours before this one, the share that had
    not left. Null where there were none, as for the first flights of a day. `since` is inclusive,
    `until` exclusive; both are ISO dates and may be empty.
    """
    from datetime import date, timedelta

    import polars as pl

    observed = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]

    def read(folder):
        return pl.scan_parquet(f"{folder}/**/*.parquet", hive_schema={"ds": pl.Date})

    def utc(table):
        # `time_hour` is UTC, although `hour` beside it is local: join on this one only.
        if table.collect_schema()["time_hour"] == pl.String:
            return pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")
        return pl.col("time_hour").cast(pl.Datetime("us", "UTC"))

    first = date.fromisoformat(since) if since else date.min
    scheduled = read(flights.path).filter(
        # What is known before the first flight of `since` was scheduled the day before.
        pl.col("ds") >= (first - timedelta(days=1) if since else first)
    )
    if until:
        scheduled = scheduled.filter(pl.col("ds") < date.fromisoformat(until))
    scheduled = scheduled.with_columns(utc(scheduled).alias("departs_at"))

    # A flight is known to be late or not when it has left, and 15 minutes after its time at the
    # latest: one that is still there then, or cancelled, counts as late. Not earlier, since nobody
    # knows a delay when it is scheduled; and by the clock, not by the date, since the evening's
    # flights leave after midnight.
    left = pl.col("dep_delay").cast(pl.Float64)
    known = (
        scheduled.select(
            "origin",
            (
                pl.col("departs_at") + pl.duration(minutes=pl.col("minute").cast(pl.Int64) + 15)
            ).alias("known_at"),
            (left > 15).fill_null(True).cast(pl.Int64).alias("was_late"),
        )
        .sort("known_at")
        .with_columns(
            pl.int_range(1, pl.len() + 1).over("origin").alias("flights_until"),
            pl.col("was_late").cum_sum().over("origin").alias("late_until"),
        )
        .drop("was_late")
    )
    asked = scheduled.select("origin", "departs_at").unique().sort("departs_at")
    for name, hours in (("end", 2), ("start", 5)):
        asked = asked.with_columns(pl.col("departs_at").dt.offset_by(f"-{hours}h").alias("at"))
        counted = known.rename({one: f"{one}_{name}" for one in ("flights_until", "late_until")})
        asked = asked.join_asof(
            counted, left_on="at", right_on="known_at", by="origin", check_sortedness=False
        ).drop("known_at", "at")

    def between(count):
        end, start = (pl.col(f"{count}_until_{name}").fill_null(0) for name in ("end", "start"))
        return end - start

    share = pl.when(between("flights") > 0).then(between("late") / between("flights"))
    seen = asked.select("origin", "departs_at", share.alias("late_share"))
    sky = read(weather.path)
    above = sky.select(
        "origin",
        # Predicted two hours ahead, published within the hour: the newest weather is 3 h old.
        utc(sky).dt.offset_by("3h").alias("departs_at"),
        *(pl.col(name).cast(pl.Float64) for name in observed),
    )
    hour = pl.col("hour").cast(pl.Int64)
    part = pl.when(hour < 7).then(pl.lit("05-06")).when(hour < 10).then(pl.lit("07-09"))
    part = part.when(hour < 14).then(pl.lit("10-13")).when(hour < 18).then(pl.lit("14-17"))
    rows = scheduled.filter(pl.col("ds") >= first).select(
        *("year", "month", "day", "carrier", "flight", "origin", "ds", "departs_at", "dest"),
        hour.alias("hour"),
        pl.col("distance").cast(pl.Int64),
        pl.col("ds").dt.weekday().cast(pl.Int64).alias("weekday"),
        part.otherwise(pl.lit("18-23")).alias("part_of_day"),
        (pl.col("arr_delay").cast(pl.Float64) > 15).alias("late"),
    )
    for found in (above, seen):
        rows = rows.join(found, on=["origin", "departs_at"], how="left", validate="m:1")
    rows.sort("ds", "departs_at", "carrier", "flight", "origin").collect().write_parquet(
        features.path
    )
    features.metadata["since"] = since
    features.metadata["until"] = until
