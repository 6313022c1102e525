"""The aggregated pipeline: for each airport what both teams say, side by side."""

from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

ARRIVALS, PUNCTUALITY = "arrivals-pipeline", "punctuality-pipeline"
PARTS = (ARRIVALS, PUNCTUALITY)


@dsl.component(base_image="python:3.11")
def summarise(
    origin: str,
    summary: Output[Dataset],
    arrivals: Input[Dataset] | None = None,
    punctuality: Input[Dataset] | None = None,
):
    """One JSON file per airport, of what is there: a part that failed is `null`, and named."""
    import csv
    import json

    parts = {"arrivals": arrivals, "punctuality": punctuality}
    missing = [name for name, part in parts.items() if part is None]
    if len(missing) == len(parts):
        raise ValueError(f"{origin}: neither {' nor '.join(missing)} is there, nothing to report")
    rows: dict[str, list[dict[str, str]] | None] = {}
    for name, part in parts.items():
        if part is None:
            rows[name] = None
            continue
        with open(part.path, newline="") as file:
            rows[name] = list(csv.DictReader(file))
    with open(summary.path, "w") as file:
        json.dump({"origin": origin, **rows}, file, indent=1)
    summary.metadata.update({"origin": origin, "missing": missing})


def compose(parts: Mapping[str, Callable[..., Any]]) -> Any:
    """Of the parts that are given, by name: one, or all of PARTS.

    Called with one part, it tells whether that part alone fits.
    """
    if not parts:
        raise ValueError(f"there is none of {', '.join(PARTS)}")

    @dsl.pipeline(description="For each airport: minutes in the air, and who is late how often.")
    def flight_report(
        flights: str,
        origins: list = ["EWR", "JFK", "LGA"],  # noqa: B006 (a default, as KFP writes it)
    ) -> None:
        with dsl.ParallelFor(origins, name="origins") as origin:
            made = {}
            if ARRIVALS in parts:
                landed = parts[ARRIVALS](flights=flights, params={"origin": origin})
                made["arrivals"] = landed.outputs["arrivals"]
            if PUNCTUALITY in parts:
                ranked = parts[PUNCTUALITY](
                    flights=flights,
                    params={"origin": origin, "late_after_min": 15, "prior_flights": 20},
                )
                made["punctuality"] = ranked.outputs["punctuality"]
            both = summarise(origin=origin, **made)
            if len(made) == len(PARTS):  # the SDK asks that every input be given
                # Where one team's branch fails, the other's is reported all the same.
                both.ignore_upstream_failure()

    return flight_report
