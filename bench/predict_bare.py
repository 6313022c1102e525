"""What `bench/predict.py` is compared with: argv is WHEEL OUT FILES…

Prints the seconds, and those of the processor, once the model is loaded.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

#: As many as `seamline predict` gives to a model at once.
CHUNK_ROWS = 16_384


def main() -> None:
    wheel, out, *files = sys.argv[1:]
    sys.path.insert(0, wheel)
    model = importlib.import_module("bench_model").load()
    names = [name for name in pl.read_parquet_schema(files[0]) if name.startswith("x")]
    few = pl.read_parquet(files[0], columns=names, n_rows=8)
    model.outputs({name: few[name].to_numpy() for name in names})
    wall, cpu = time.perf_counter(), time.process_time()
    for number, file in enumerate(files):
        frame = pl.read_parquet(file, columns=["id", *names])
        parts = [
            model.outputs({name: part[name].to_numpy() for name in names})
            for part in frame.iter_slices(CHUNK_ROWS)
        ]
        answers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        path = Path(out) / f"bare-{number}.parquet"
        pl.DataFrame({"id": frame["id"], **answers}).write_parquet(path)
    print(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main()
