"""The plan of a submitted pipeline."""

from __future__ import annotations

from functools import lru_cache

from seamline.store.stores import Stores
from seamline.train.ir.reader import read_pipeline
from seamline.train.plan.planner import make_plan
from seamline.train.plan.types import Plan


def load_plan(stores: Stores, pipeline_digest: str) -> Plan:
    """Raises DigestMismatch when the stored IR is not what was submitted."""
    return plan_of(stores.blobs.get(pipeline_digest, "pipeline"))


@lru_cache(maxsize=8)
def plan_of(ir: bytes) -> Plan:
    """A pure function of the bytes, remembered: reading a large IR takes far longer than a turn."""
    return make_plan(read_pipeline(ir))
