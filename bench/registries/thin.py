"""A thin wheel's load: over HTTP at first, then from the cache, each in a fresh process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
import uv
from bench.registries.servers import ours
from bench.registries.table import show_head, show_row
from sklearn.neighbors import KNeighborsClassifier

from seamline.domain.clock import SystemClock
from seamline.register.models import package_task
from seamline.register.models.catalogue import register_model_version
from seamline.register.models.documents import Lineage, make_model_document, packaging_task
from seamline.register.models.wheels import ModelWheelSpec, build_model_wheel
from seamline.store.stores import open_stores
from seamline.trust.keys import load_or_create_key

MODEL = "bench-model"
#: Seconds of each part: those that passed, and the processor's.
Load = tuple[dict[str, float], dict[str, float]]
#: What the framework takes to be imported is its own; then each part, on the same bytes. In time
#: that passes, and in time of the processor, which does not depend on what else the machine does.
LOAD = """
import hashlib, json, os, time
from pathlib import Path
import skops.io, sklearn.neighbors
marks = []
def mark():
    marks.append((time.perf_counter(), time.process_time()))
mark()
import bench_model
bench_model.load()
mark()
[path] = [one for one in Path(os.environ["SEAMLINE_PAYLOAD_CACHE"]).rglob("*")
          if one.is_file() and one.stat().st_size > 1_000_000]
payload = path.read_bytes()
mark()
hashlib.sha256(payload).hexdigest()
mark()
trusted = skops.io.get_untrusted_types(data=payload)
mark()
skops.io.loads(payload, trusted=trusted)
mark()
for which, kind in enumerate(("passed", "cpu")):
    took = [after[which] - before[which] for before, after in zip(marks, marks[1:])]
    parts = dict(zip(("load", "read", "hash", "ask", "open"), took))
    print(json.dumps({**parts, "size": len(payload)}))
"""


def show_thin(root: Path, *, is_quick: bool, turns: int = 7) -> None:
    rows = 50_000 if is_quick else 600_000
    workspace, site, cache = root / "thin", root / "site", root / "payloads"
    _register(workspace, root, rows)
    with ours(workspace) as server:
        install = (uv.find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--no-config")
        index = f"{server.url}/pypi/dataops/thin/simple/"
        command = (*install, "--target", str(site), "--index-url", index, MODEL, "seamline-loader")
        subprocess.run(command, check=True, cwd="/")
        payloads = f"{server.url}/pypi/dataops/payloads"
        first = _load(site, cache, SEAMLINE_PAYLOADS=payloads)
        later = [_load(site, cache) for _ in range(turns)]
    size = int(first[0]["size"])
    show_head(f"payload of {size / 1e6:.0f} MB", "ms", "CPU, ms", "n")
    show_row("first load, fetched over HTTP", *_spell([first], "load"), 1)
    show_row("load from the cache", *_spell(later, "load"), turns)
    show_row("hashing those bytes", *_spell(later, "hash"), turns)
    show_row("deserialising them", *_spell(later, "open"), turns)
    show_row("reading them", *_spell(later, "read"), turns)
    show_row(
        "**load, less hashing and deserialising**", *_spell(later, "load", "hash", "open"), turns
    )
    hashed = statistics.median(cpu["hash"] for _, cpu in later)
    show_row("hashing, GB/s of one processor", "", f"{size / hashed / 1e9:.2f}", turns)


def _spell(loads: Sequence[Load], part: str, *without: str) -> list[str]:
    """Medians of a part of the load, less other parts of the same one."""
    medians = [
        statistics.median(one[part] - sum(one[key] for key in without) for one in both)
        for both in zip(*loads, strict=True)
    ]
    return [f"{median * 1e3:.0f}" for median in medians]


def _register(workspace: Path, root: Path, rows: int) -> None:
    """Its nearest neighbours are what makes the model large."""
    draw = np.random.default_rng(1)
    known = draw.random((rows, 20))
    estimator = KNeighborsClassifier(algorithm="brute").fit(known, known[:, 0] > 0.5)
    payload = skops.io.dumps(estimator)
    model, samples = root / "model.skops", root / "samples"
    model.write_bytes(payload)
    shown = [{f"x{number}": value for number, value in enumerate(row)} for row in known[:2]]
    samples.write_text("".join(f"{json.dumps(row)}\n" for row in shown))
    described: dict[str, Any] = package_task.main(
        packaging_task(model, samples, requirements=[])[1]
    )
    lineage = Lineage("run-1", "train", "sha256:" + "a" * 64, (), None, "2026-01-01", None)
    document = make_model_document(MODEL, "1.0.0", described, lineage)
    wheel = build_model_wheel(ModelWheelSpec(document, described["samples"], payload))
    stores = open_stores(workspace, SystemClock())
    register_model_version(stores, wheel, key=load_or_create_key(stores.root / "keys"), by="bench")
    stores.db.close()


def _load(site: Path, cache: Path, **settings: str) -> Load:
    environ = {name: text for name, text in os.environ.items() if not name.startswith("SEAMLINE")}
    environ |= {"PYTHONPATH": str(site), "SEAMLINE_PAYLOAD_CACHE": str(cache), **settings}
    command = [sys.executable, "-c", LOAD]
    ran = subprocess.run(command, check=True, env=environ, capture_output=True, text=True, cwd="/")
    passed, cpu = map(json.loads, ran.stdout.splitlines())
    return passed, cpu
