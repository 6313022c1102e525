"""skops: scikit-learn's estimators as data."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any


def open_payload(document: Mapping[str, Any], payload: bytes) -> Any:
    skops = importlib.import_module("skops.io")
    return skops.loads(payload, trusted=list(document["trusted_types"]))
