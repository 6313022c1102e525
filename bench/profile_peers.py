"""One peer's statistics of a Parquet file, in the peer's own interpreter: JSON to stdout.

Usage: profile_peers.py evidently|tfdv FILE RUNS. Reading the file is not in the time.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable

warnings.filterwarnings("ignore")


def evidently(path: str) -> Callable[[], int]:
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataSummaryPreset

    frame = pd.read_parquet(path)
    words = [name for name in frame if frame[name].dtype in (object, bool)]
    times = [name for name in frame if frame[name].dtype.kind == "M"]
    numbers = [name for name in frame if name not in (*words, *times)]
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=words, datetime_columns=times
    )
    data = Dataset.from_pandas(frame, definition)
    # Nothing is computed before somebody asks for it.
    return lambda: len(Report([DataSummaryPreset()]).run(data, None).json())


def tfdv(path: str) -> Callable[[], int]:
    import pandas as pd
    import tensorflow_data_validation

    frame = pd.read_parquet(path)
    for name in frame:
        if frame[name].dtype.kind in "Mb":
            frame[name] = frame[name].astype("int64")
    make = tensorflow_data_validation.generate_statistics_from_dataframe
    return lambda: make(frame).ByteSize()


def main() -> None:
    peer, path, runs = sys.argv[1:]
    make = {"evidently": evidently, "tfdv": tfdv}[peer](path)
    times = []
    for _ in range(int(runs)):
        before = time.process_time()
        size = make()
        times.append(time.process_time() - before)
    print(json.dumps({"cpu_s": times, "bytes": size}))


if __name__ == "__main__":
    main()
