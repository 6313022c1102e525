"""Team arrivals' pipeline: how many minutes will the flights of an airport be in the air?"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11")
def learn(flights: Input[Dataset], params: dict) -> dict:
    """Minutes in the air by miles, a straight line through the flights from one airport."""
    import csv
    import statistics

    with open(flights.path, newline="") as file:
        flown = [
            (float(row["distance"]), float(row["air_time"]))
            for row in csv.DictReader(file)
            if row["origin"] == params["origin"] and row["air_time"] != "NA"
        ]
    if len(flown) < 2:
        raise ValueError(f"{params['origin']} has {len(flown)} flights to learn from, wanted two")
    line = statistics.linear_regression(*zip(*flown, strict=True))
    return {"per_mile": line.slope, "minutes": line.intercept, "flights": len(flown)}


@dsl.component(base_image="python:3.11")
def forecast(flights: Input[Dataset], line: dict, params: dict, arrivals: Output[Dataset]):
    """One row per destination: its miles, and the minutes in the air to be expected."""
    import csv

    with open(flights.path, newline="") as file:
        miles = {
            row["dest"]: float(row["distance"])
            for row in csv.DictReader(file)
            if row["origin"] == params["origin"]
        }
    with open(arrivals.path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["dest", "miles", "expected_minutes"])
        for dest, distance in sorted(miles.items()):
            expected = line["minutes"] + line["per_mile"] * distance
            writer.writerow([dest, round(distance), round(expected)])
    arrivals.metadata["destinations"] = len(miles)


class Outputs(NamedTuple):
    arrivals: Dataset


@dsl.pipeline(description="The expected air time to each destination of an airport, in minutes.")
def arrivals_pipeline(flights: str, params: dict) -> Outputs:
    """`params`: `origin`, the airport."""
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    line = learn(flights=flown.output, params=params)
    made = forecast(flights=flown.output, line=line.output, params=params)
    return Outputs(arrivals=made.outputs["arrivals"])
