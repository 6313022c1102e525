"""The steps of one scenario: the flights of one carrier on one route, and their air time."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

# Arrow and not Polars: Polars starts a thread when it is imported, so that no warm process can have
# it at the ready, and each of some two thousand small steps would import it anew.
ARROW = ["numpy>=2", "pyarrow==26.0.1"]
LEARNING = [*ARROW, "scikit-learn==1.9.1", "skops==0.16.0"]


@dsl.component(base_image="python:3.11", packages_to_install=ARROW)
def prepare(
    flights: Input[Dataset],
    origin: str,
    carrier: str,
    dest: str,
    since: str,
    until: str,
    history: Output[Dataset],
) -> NamedTuple("Prepared", [("rows", int)]):
    """The scenario's flights: one small file that the next steps read, and how many they are.

    `flights` is a dataset version (a folder by day), or the one file that `split` made of it.
    Cancelled and diverted flights count as rows, but have no air time to learn from.
    """
    from pathlib import Path

    import numpy as np
    import pyarrow as pa
    import pyarrow.dataset as arrow
    import pyarrow.parquet as pq

    days = arrow.partitioning(pa.schema([("ds", pa.string())]), flavor="hive")
    by_day = days if Path(flights.path).is_dir() else None
    chosen = (
        (arrow.field("origin") == origin)
        & (arrow.field("carrier") == carrier)
        & (arrow.field("dest") == dest)
    )
    if since:
        chosen &= arrow.field("ds") >= since
    if until:
        chosen &= arrow.field("ds") < until
    source = arrow.dataset(flights.path, format="parquet", partitioning=by_day)
    found = source.to_table(["ds", "hour", "air_time"], filter=chosen, use_threads=False)

    order = [("ds", "ascending"), ("hour", "ascending"), ("air_time", "ascending")]
    flown = found.filter(arrow.field("air_time").is_valid()).sort_by(order)
    day = np.array(flown["ds"].to_pylist(), dtype="datetime64[D]")
    season = (day - day.astype("datetime64[Y]")).astype(float) * (2 * np.pi / 365.25)
    columns = {
        # The jet stream goes by the season, the detours go by the hour.
        "hour": flown["hour"].to_numpy().astype(float),
        "season_sin": np.sin(season),
        "season_cos": np.cos(season),
        "air_time": flown["air_time"].to_numpy().astype(float),
    }
    pq.write_table(pa.table(columns), history.path)
    history.metadata["scenario"] = f"{origin}-{carrier}-{dest}"
    return (found.num_rows,)


@dsl.component(base_image="python:3.11", packages_to_install=LEARNING)
def train(
    history: Input[Dataset],
    fail: str,
    mended: str,
    model: Output[Model],
    samples: Output[Dataset],
):
    """Fit minutes in the air on the first four fifths of the flights.

    `fail`: a scenario that does not get that far, before there is a file called `mended`.
    `samples`: some of the rows, as the model takes them.
    """
    import json
    from pathlib import Path

    import numpy as np
    import pyarrow.parquet as pq
    import skops.io
    from sklearn.linear_model import Ridge

    scenario = history.metadata["scenario"]
    if scenario == fail and not (mended and Path(mended).exists()):
        raise RuntimeError(f"{scenario} was asked to fail")
    rows = pq.read_table(history.path, use_threads=False)
    if rows.num_rows < 10:
        raise ValueError(f"{scenario}: {rows.num_rows} flown flights are too few to learn from")
    known = rows.slice(0, rows.num_rows * 4 // 5)
    features = ["hour", "season_sin", "season_cos"]
    inputs = np.column_stack([known[name] for name in features])
    estimator = Ridge(alpha=1.0).fit(inputs, known["air_time"].to_numpy())
    skops.io.dump(estimator, model.path)
    with open(samples.path, "w") as file:
        file.writelines(
            json.dumps(row) + "\n" for row in known.slice(0, 10).select(features).to_pylist()
        )
    model.metadata.update(
        {
            "format": "skops",
            "task": "regression",
            "scenario": scenario,
            "train_rows": known.num_rows,
        }
    )


@dsl.component(base_image="python:3.11", packages_to_install=LEARNING)
def evaluate(history: Input[Dataset], model: Input[Model], scores: Output[Metrics]):
    """Error in minutes on the last fifth, beside that of the mean of what was learnt from."""
    import numpy as np
    import pyarrow.parquet as pq
    import skops.io

    rows = pq.read_table(history.path, use_threads=False)
    first = rows.num_rows * 4 // 5
    inputs = np.column_stack([rows[name] for name in ("hour", "season_sin", "season_cos")])[first:]
    minutes = rows["air_time"].to_numpy()
    known, truth = minutes[:first], minutes[first:]
    error = skops.io.load(model.path).predict(inputs) - truth
    scores.log_metric("rows", len(truth))
    scores.log_metric("mae", round(float(np.abs(error).mean()), 3))
    scores.log_metric("baseline_mae", round(float(np.abs(known.mean() - truth).mean()), 3))


@dsl.component(base_image="python:3.11", packages_to_install=LEARNING)
def register(
    model: Input[Model],
    scores: Input[Metrics],
    registered: Output[Model],
    card: Output[Metrics],
):
    """Hand on the very bytes that were judged, with what is known of them.

    Whoever packages `registered` needs what this component installs, to load it.
    """
    import shutil

    shutil.copyfile(model.path, registered.path)
    measured = {name: scores.metadata[name] for name in ("rows", "mae", "baseline_mae")}
    registered.metadata.update({**model.metadata, "metrics": measured})
    registered.metadata["name"] = f"air-time-{model.metadata['scenario']}".lower()
    for name, value in measured.items():
        card.log_metric(name, value)
    card.log_metric("gain", round(measured["baseline_mae"] - measured["mae"], 3))
