"""Preparation by Spark: `python prepare.py OUT.yaml` compiles it.

Nothing here imports Seamline. The component reads exactly one version of the flights, as a folder
of Parquet, and what it writes becomes a version of `hub-hours` (seamline.toml).
"""

import sys

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11", packages_to_install=["pyspark==4.0.5"])
def prepare(
    flights: Input[Dataset],
    master: str,
    settings: dict[str, str],
    hours: Output[Dataset],
):
    """Departures of each hub and hour: how many, how late, and how many never left.

    `master`: `local[2]` is this machine; `spark://HOST:7077` is a cluster, whose machines have to
    see both folders under the same names. `settings` are Spark's own, by name.
    """
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as sql

    builder = SparkSession.builder.appName("hub-hours").master(master)
    chosen = {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC", **settings}
    for name, value in chosen.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    try:
        rows = spark.read.parquet(flights.path)
        by_hour = rows.groupBy(sql.col("ds").alias("day"), "origin", "hour").agg(
            sql.count("*").alias("planned"),
            sql.count_if(sql.col("dep_time").isNull()).alias("cancelled"),
            sql.round(sql.avg("dep_delay"), 3).alias("mean_delay"),
        )
        by_hour.write.parquet(hours.path)
    finally:
        spark.stop()
    hours.metadata["spark"] = master


@dsl.pipeline(name="hub-hours", description="Departures of each hub and hour, counted by Spark.")
def hub_hours(
    flights: str = "datasets://flights",
    master: str = "local[2]",
    settings: dict[str, str] = {},  # noqa: B006
) -> Dataset:
    planned = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    done = prepare(flights=planned.output, master=master, settings=settings)
    return done.outputs["hours"]


if __name__ == "__main__":
    compiler.Compiler().compile(hub_hours, sys.argv[1])
