"""One pipeline from two teams' pipelines, fetched by tag from the registry.

`python aggregate.py --registry URL --out FILE` compiles `flight_outlook`. This codebase knows
neither team's code: only the names of their packages, parameters and outputs.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, components, dsl
from kfp.dsl import Dataset, Input, Metrics, Output
from kfp.registry import ApiAuth, RegistryClient


@dsl.component(base_image="python:3.11", packages_to_install=["polars==2.1.0"])
def combine(
    combined: Output[Dataset],
    summary: Output[Metrics],
    late_arrival: Input[Dataset] | None = None,
    air_time: Input[Dataset] | None = None,
):
    """Put both teams' predictions side by side; run on what is there when one has failed."""
    import polars as pl

    keys = ["ds", "year", "month", "day", "carrier", "flight", "origin"]
    expected = {
        "late_arrival": (late_arrival, ["dest", "score", "label"]),
        "air_time": (air_time, ["dest", "prediction"]),
    }
    there = {
        team: pl.read_parquet(part.path, columns=[*keys, *columns])
        for team, (part, columns) in expected.items()
        if part is not None
    }
    if not there:
        raise ValueError("neither late_arrival nor air_time has predictions: nothing to combine")
    first, *others = there.values()
    for other in others:
        first = first.join(other, on=[*keys, "dest"], how="full", coalesce=True)
    # The table has the same columns whoever failed: what is missing is null.
    absent = {"score": pl.Float64, "label": pl.Int64, "prediction": pl.Float64}
    table = (
        first.with_columns(
            pl.lit(None, dtype).alias(name)
            for name, dtype in absent.items()
            if name not in first.columns
        )
        .select(*keys, "dest", *absent)
        .sort(keys)
    )
    table.write_parquet(combined.path)

    combined.metadata["missing"] = [team for team in expected if team not in there]
    summary.log_metric("flights", table.height)
    summary.log_metric("teams", len(there))
    if "late_arrival" in there:
        summary.log_metric("expected_late_flights", round(table["score"].sum(), 1))
    if "air_time" in there:
        summary.log_metric("expected_air_hours", round(table["prediction"].sum() / 60, 1))


class Outputs(NamedTuple):
    combined: Dataset
    summary: Metrics


def compose(late_arrival_file: str, air_time_file: str):
    """The aggregated pipeline of two compiled prediction pipelines."""
    late_arrival_prediction = components.load_component_from_file(late_arrival_file)
    air_time_prediction = components.load_component_from_file(air_time_file)

    @dsl.pipeline(description="Late arrivals and air times of the same flights, side by side.")
    def flight_outlook(
        flights: str = "datasets://flights",
        weather: str = "datasets://weather",
        late_arrival_model: str = "models://late-arrival",
        air_time_model: str = "models://air-time",
        since: str = "",
        until: str = "",
    ) -> Outputs:
        late = late_arrival_prediction(
            flights=flights, weather=weather, model=late_arrival_model, since=since, until=until
        )
        air = air_time_prediction(flights=flights, model=air_time_model, since=since, until=until)
        both = combine(
            late_arrival=late.outputs["predictions"], air_time=air.outputs["predictions"]
        ).ignore_upstream_failure()
        return Outputs(combined=both.outputs["combined"], summary=both.outputs["summary"])

    return flight_outlook


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True, help="URL of the KFP registry")
    parser.add_argument("--token", help="sent as a bearer token")
    parser.add_argument("--punctuality-tag", default="1.0.0")
    parser.add_argument("--operations-tag", default="1.0.0")
    parser.add_argument("--out", required=True, help="where the compiled pipeline goes")
    asked = parser.parse_args(arguments)

    client = RegistryClient(host=asked.registry, auth=ApiAuth(asked.token) if asked.token else None)
    with tempfile.TemporaryDirectory() as folder:
        late_arrival, air_time = (
            client.download_pipeline(name, tag=tag, file_name=str(Path(folder, f"{name}.yaml")))
            for name, tag in (
                ("late_arrival_prediction", asked.punctuality_tag),
                ("air_time_prediction", asked.operations_tag),
            )
        )
        compiler.Compiler().compile(compose(late_arrival, air_time), asked.out)


if __name__ == "__main__":
    main()
