"""Train every scenario in one pipeline: `python train_all.py OUT.yaml` compiles it."""

import sys

from kfp import compiler, dsl
from kfp.dsl import Dataset, Input, Output
from steps import ARROW, evaluate, prepare, register, train


@dsl.component(base_image="python:3.11", packages_to_install=ARROW)
def split(
    flights: Input[Dataset], scenarios: list[dict[str, str]], table: Output[Dataset]
) -> list[dict[str, str]]:
    """Read the year once: a table of what is needed, sorted by scenario, in one small file.

    Hands on the given scenarios, or every origin, carrier and destination of the data.
    """
    import pyarrow as pa
    import pyarrow.dataset as arrow
    import pyarrow.parquet as pq

    keys = ["origin", "carrier", "dest"]
    by_day = arrow.partitioning(pa.schema([("ds", pa.string())]), flavor="hive")
    source = arrow.dataset(flights.path, format="parquet", partitioning=by_day)
    narrow = {"hour": pa.int8(), "air_time": pa.int16()}
    columns = {name: arrow.field(name) for name in ("ds", *keys)}
    columns |= {name: arrow.field(name).cast(kind) for name, kind in narrow.items()}
    rows = source.to_table(columns).sort_by([(name, "ascending") for name in (*keys, "ds")])
    # Row groups tell which scenarios are in them, so that a step reads a fortieth of the file.
    pq.write_table(rows, table.path, row_group_size=8192)
    found = rows.group_by(keys, use_threads=False).aggregate([]).to_pylist()
    unknown = [one for one in scenarios if one not in found]
    if unknown:
        raise ValueError(f"no flight belongs to {unknown[0]}; the data has {len(found)} scenarios")
    return scenarios or found


@dsl.pipeline(description="How long are each carrier's flights on each route in the air?")
def train_all_scenarios(
    flights: str = "datasets://flights",
    scenarios: list[dict[str, str]] = [],  # noqa: B006
    since: str = "",
    until: str = "",
    min_rows: int = 100,
    fail: str = "",
    mended: str = "",
):
    flown = dsl.importer(artifact_uri=flights, artifact_class=dsl.Dataset, reimport=False)
    whole = split(flights=flown.output, scenarios=scenarios)
    with dsl.ParallelFor(whole.outputs["Output"], name="scenarios") as scenario:
        prepared = prepare(
            flights=whole.outputs["table"],
            origin=scenario.origin,
            carrier=scenario.carrier,
            dest=scenario.dest,
            since=since,
            until=until,
        )
        history = prepared.outputs["history"]
        # Few flights teach nothing: such a scenario is skipped, which is no failure.
        with dsl.If(prepared.outputs["rows"] >= min_rows, name="enough-rows"):
            trained = train(history=history, fail=fail, mended=mended)
            judged = evaluate(history=history, model=trained.outputs["model"])
            register(model=trained.outputs["model"], scores=judged.outputs["scores"])


if __name__ == "__main__":
    compiler.Compiler().compile(train_all_scenarios, sys.argv[1])
