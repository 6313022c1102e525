"""Days that a model is judged on and may have learnt from: whoever approves shall know.

A split, or a training that reads a part of its version, may have left them out; only the training
knows that, and so nothing is refused.
"""

from __future__ import annotations

import polars as pl

from seamline.app.platform import Platform
from seamline.data.versions import find_version, version_files
from seamline.register.models.catalogue import ModelVersion

DAY = "ds"


def say_seen(platform: Platform, version: ModelVersion, dataset: str, judged: pl.DataFrame) -> str:
    """Empty where no judged day is in the training version."""
    used = [
        one for one in version.document["lineage"]["dataset_versions"] if one["name"] == dataset
    ]
    if not used:
        return ""
    reference = f"{dataset}@{used[0]['version']}"
    files = version_files(platform.stores, find_version(platform.stores, reference))
    days = {str(day) for day in judged[DAY].cast(pl.Date).unique()}
    both = days & {file.partition for file in files}
    if not both:
        return ""
    return (
        f"{len(both):,} of {len(days):,} days are in {reference}, too, which it was trained on: "
        "they prove something only if the training left them out"
    )
