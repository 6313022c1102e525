"""The ten steps of `seamline demo`: its own summary, as Markdown rows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SEAMLINE = str(Path(sys.executable).with_name("seamline"))
ENVIRON = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
#: "1 data              3.2   (+ 20.1 s clean installation, not counted)"
LINE = re.compile(r"^(\d+ \w+|all ten)\s+([\d.]+)(?:\s+\((.*)\))?\s*$")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [SEAMLINE, "demo", "--folder", str(Path(folder) / "workspace")],
            env=ENVIRON,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.stderr.write(done.stdout[-3000:] + done.stderr[-3000:])
        return done.returncode
    _, _, summary = done.stdout.rpartition("\nstep ")
    print("| step | s | |\n|---|---|---|")
    for line in summary.splitlines():
        found = LINE.match(line)
        if found:
            print(f"| {found[1]} | {found[2]} | {found[3] or ''} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
