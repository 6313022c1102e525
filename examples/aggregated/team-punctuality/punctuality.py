"""Team punctuality's pipeline: which share of each carrier's flights from an airport is late?"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Output


@dsl.component(base_image="python:3.11")
def count(flights: Input[Dataset], params: dict) -> dict:
    """Carrier → [flights that arrived, flights that arrived late]."""
    import csv

    arrived: dict[str, list[int]] = {}
    with open(flights.path, newline="") as file:
        for row in csv.DictReader(file):
            if row["origin"] == params["origin"] and row["arr_delay"] != "NA":
                found = arrived.setdefault(row["carrier"], [0, 0])
                found[0] += 1
                found[1] += float(row["arr_delay"]) > params["late_after_min"]
    if not arrived:
        raise ValueError(f"no flight from {params['origin']} has arrived")
    return arrived


@dsl.component(base_image="python:3.11")
def rank(arrived: dict, params: dict, punctuality: Output[Dataset]):
    """One row per carrier, the most punctual first.

    Few flights say little: each share is drawn towards that of the airport as if
    `prior_flights` more had been counted.
    """
    import csv

    prior = params["prior_flights"]
    usual = sum(late for _, late in arrived.values()) / sum(n for n, _ in arrived.values())
    shares = {
        carrier: (late + prior * usual) / (flights + prior)
        for carrier, (flights, late) in arrived.items()
    }
    with open(punctuality.path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["carrier", "flights", "late_share"])
        for carrier in sorted(shares, key=lambda name: (shares[name], name)):
            writer.writerow([carrier, arrived[carrier][0], round(shares[carrier], 3)])
    punctuality.metadata["carriers"] = len(shares)


class Outputs(NamedTuple):
    punctuality: Dataset


@dsl.pipeline(description="The share of each carrier's flights from an airport that is late.")
def punctuality_pipeline(flights: str, params: dict) -> Outputs:
    """`params`: `origin`, the airport; `late_after_min`; `prior_flights`."""
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    counted = count(flights=flown.output, params=params)
    made = rank(arrived=counted.output, params=params)
    return Outputs(punctuality=made.outputs["punctuality"])
