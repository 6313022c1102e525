"""Batch prediction as a component: the package answers the rows, in the task itself.

The compiler takes the source of these functions, and nothing else of this file: each imports what
it needs, and says what it takes in words that the KFP SDK knows. No annotation may be postponed.
"""

from collections.abc import Iterator
from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

IMAGE = "python:3.11"
#: What the ONNX twin of a model needs, and what reads and writes tables.
PACKAGES = ("numpy", "onnxruntime", "polars")


def batch_predict_with(*packages: str) -> Any:
    """The component in an environment that has these libraries, too: for models without a twin.

    >>> component = batch_predict_with("scikit-learn==1.9.1", "skops")
    >>> sorted(component.component_spec.inputs)
    ['default', 'keep', 'model', 'query', 'rows', 'twin']
    """
    return dsl.component(
        batch_predict_rows,
        base_image=IMAGE,
        packages_to_install=[*PACKAGES, *packages],
        additional_funcs=[
            open_package,
            answer_as_packaged,
            read_family,
            answer_by_family,
            find_rows,
            answer_part,
            inputs_of,
        ],
    )


def batch_predict_rows(
    rows: Input[Dataset],
    model: Input[Model],
    predictions: Output[Dataset],
    query: str = "",
    keep: list[str] = [],  # noqa: B006  (the SDK reads the default; nobody changes it)
    twin: str = "prefer",
    default: str = "",
) -> None:
    """Answer every row of a dataset by a packaged model, as one Parquet file; by a family of them,
    each row by the one that its values name.

    Args:
        rows: What an importer of `datasets://NAME@VERSION` brings, or a Parquet file.
        model: What an importer of `models://NAME` brings; NAME may be a family.
        predictions: The answers, beside what is kept of each row.
        query: Which rows: one SELECT over the table `rows`; all, if empty.
        keep: Columns to keep; those that the model does not take, if empty.
        twin: `prefer` the ONNX twin of the model, `require` it, or `never` use it.
        default: Of a family, the model that answers rows of values without one.
    """
    import tempfile
    from pathlib import Path

    import polars as pl

    family = read_family(model.path, twin, default)
    if family is None:
        package, by = open_package(model.path, model.metadata["module"], twin)
        told = {"model": package.document["name"], "model_version": package.version}
    with tempfile.TemporaryDirectory() as folder:
        count = 0
        for number, frame in enumerate(find_rows(rows.path, query)):
            if frame.is_empty():
                continue
            if family is None:
                answered = answer_part(package, frame, keep, told)
            else:
                answered = answer_by_family(family, frame, keep)
            answered.write_parquet(Path(folder) / f"{number:06}.parquet")
            count += answered.height
        if not count:
            raise ValueError(f"{rows.uri or rows.path} has no rows" + f" for {query}" * bool(query))
        pl.scan_parquet(Path(folder) / "*.parquet").sink_parquet(predictions.path)
    if family is not None:
        by = " and ".join(sorted(family["by"]))
        told = {"model": family["family"], "models": len(family["used"])}
    predictions.metadata.update(told, rows=count, answered_by=by)


def open_package(path: str, module: str, twin: str) -> tuple[Any, str]:
    """(what answers, "twin" or "model"). The package's own loader holds its bytes to their digests;
    what does not say of the sample rows what was said when they were packaged does not answer."""
    import importlib
    import json
    import pkgutil
    import sys

    if twin not in ("prefer", "require", "never"):
        raise ValueError(f"twin is {twin!r}; write prefer, require or never.")
    sys.path.insert(0, path)
    package = importlib.import_module(module)
    samples = json.loads(pkgutil.get_data(module, "samples.json") or b"{}")
    if twin != "never":
        try:
            found = package.load_twin()
            answer_as_packaged(found, samples)
            return found, "twin"
        except Exception as error:
            if twin == "require":
                raise
            print(f"The ONNX twin does not answer: {error}")
    found = package.load()
    answer_as_packaged(found, samples)
    return found, "model"


def answer_as_packaged(found: Any, samples: dict[str, Any]) -> None:
    """Raises ValueError at the first sample row that is answered otherwise."""
    rows = samples.get("rows") or []
    if not rows:
        return
    main = "prediction" if found.document["task"] == "regression" else "score"
    tolerance = (found.document.get("twin") or {}).get("compared", {}).get("tolerance", 1e-3)
    said = found.outputs(rows)[main]
    for row, (old, new) in enumerate(zip(samples["outputs"][main], said, strict=True)):
        is_missing = new != new
        if (old is None) != is_missing or (old is not None and abs(old - new) > tolerance):
            raise ValueError(f"it says {new:g} of sample row {row}; when packaged, {old}")


def read_family(path: str, twin: str, default: str) -> dict[str, Any] | None:
    """What its folder lists, ready to answer; None of a package by itself."""
    import difflib
    import json
    from pathlib import Path

    listed = Path(path) / "family.json"
    if not listed.is_file():
        if default:
            raise ValueError(f"default is {default!r}, but {Path(path).name} is no family.")
        return None
    family: dict[str, Any] = json.loads(listed.read_text())
    models = family["models"]
    places = {tuple(one["key"]): place for place, one in enumerate(models)}
    names = {one["model"]: place for place, one in enumerate(models)}
    if default and default not in names:
        near = difflib.get_close_matches(default, names, 1, 0.0)
        raise ValueError(f"default is {default!r}, which the family has not; it has {near[0]}.")
    more = {"path": path, "twin": twin, "places": places, "default": names.get(default)}
    return {**family, **more, "open": {}, "by": set(), "used": set()}


def answer_by_family(family: dict[str, Any], frame: Any, keep: list[str]) -> Any:
    """Each row by the model of its values, in the order of the rows. Of models that are open, those
    that were asked last stay so."""
    import difflib
    import sys
    from pathlib import Path

    import polars as pl

    keys = family["keys"]
    absent = [key for key in keys if key not in frame.columns]
    if absent:
        raise ValueError(f"No column {', '.join(absent)}, which chooses the model.")
    values = list(zip(*(frame[key].to_list() for key in keys), strict=True))
    chosen = [family["places"].get(one, family["default"]) for one in values]
    if None in chosen:
        known = [
            ", ".join(f"{name}={value}" for name, value in zip(keys, key, strict=True))
            for key in (*family["places"], values[chosen.index(None)])
        ]
        near = difflib.get_close_matches(known[-1], known[:-1], 1, 0.0)
        raise ValueError(f"There is no model for {known[-1]}; the nearest is {near[0]}.")
    places = pl.Series(chosen, dtype=pl.Int64)
    parts, rows = [], []
    for place in sorted(set(chosen)):
        one = family["models"][place]
        if place not in family["open"]:
            path = str(Path(family["path"]) / one["file"])
            family["open"][place], by = open_package(path, one["module"], family["twin"])
            sys.path.remove(path)  # a package finds its own parts; hundreds would slow others down
            family["by"].add(by)
        package = family["open"][place] = family["open"].pop(place)
        if len(family["open"]) > 200:
            family["open"].pop(next(iter(family["open"])))
        family["used"].add(place)
        mine = (places == place).arg_true()
        told = {"model": one["model"], "model_version": one["version"]}
        parts.append(answer_part(package, frame[mine], keep, told))
        rows.append(mine)
    return pl.concat(parts)[pl.concat(rows).arg_sort()]


def find_rows(path: str, query: str) -> Iterator[Any]:
    """A file at a time; what a query finds all at once."""
    from pathlib import Path

    import polars as pl

    files = sorted(Path(path).rglob("*.parquet")) if Path(path).is_dir() else [Path(path)]
    if not files:
        return
    is_by_day = Path(path).is_dir()
    days = {"ds": pl.Date} if is_by_day else None
    if query:
        table = pl.scan_parquet(files, hive_partitioning=is_by_day, hive_schema=days)
        yield pl.SQLContext(rows=table).execute(query).collect()
        return
    for file in files:
        yield pl.read_parquet(file, hive_partitioning=is_by_day, hive_schema=days)


def answer_part(package: Any, frame: Any, keep: list[str], told: dict[str, str]) -> Any:
    """Rows that go to the model at once are few enough for a worker's memory."""
    import polars as pl

    inputs = package.signature["inputs"]
    kept = keep or [one for one in frame.columns if one not in {each["name"] for each in inputs}]
    absent = [one for one in kept if one not in frame.columns]
    if absent:
        raise ValueError(f"No column {', '.join(absent)} to keep; {', '.join(frame.columns)} are.")
    kept += ["ds"] * ("ds" in frame.columns and "ds" not in kept)
    outputs = [one["name"] for one in package.signature["outputs"]]
    twice = {*kept} & {*outputs, *told}
    if twice:
        raise ValueError(f"{', '.join(sorted(twice))} would be kept, and is also predicted.")
    parts = []
    for part in frame.iter_slices(16_384):
        said = package.outputs(inputs_of(part, inputs))
        for name in outputs:
            if len(said[name]) != part.height:
                raise ValueError(f"{name} has {len(said[name])} rows for {part.height}.")
        answers = [pl.Series(name, said[name]) for name in outputs]
        parts.append(part.select(kept).with_columns(*answers))
    answered = pl.concat(parts) if parts else frame.select(kept).clear()
    return answered.with_columns(pl.lit(value).alias(name) for name, value in told.items())


def inputs_of(part: Any, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """As the loader takes them fastest: arrays of the declared types, texts as lists. What does not
    fit is left to the loader, which says so by name."""
    import polars as pl

    kinds = {"FP64": pl.Float64, "INT64": pl.Int64, "BOOL": pl.Boolean}
    columns: dict[str, Any] = {}
    for one in inputs:
        if one["name"] not in part.columns:
            continue
        series = part[one["name"]]
        kind = kinds.get(one["datatype"])
        if kind is pl.Float64 and series.dtype.is_numeric():
            columns[one["name"]] = series.cast(kind).fill_null(float("nan")).to_numpy()
        elif kind is not None and series.dtype == kind and not series.null_count():
            columns[one["name"]] = series.to_numpy()
        else:
            columns[one["name"]] = series.to_list()
    return columns


batch_predict = batch_predict_with()
