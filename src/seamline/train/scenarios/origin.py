"""Which pipeline was put into a loop over scenarios: proved by doing it again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from seamline.domain.errors import InvalidInput, Refused
from seamline.train.ir.document import load_documents
from seamline.train.scenarios.loop import LOOP, with_scenarios

_SOURCE = re.compile(r"(\d+) scenarios from (.+)\.")


@dataclass(frozen=True)
class LoopOver:
    """What a pipeline in a loop says of itself; that alone proves nothing."""

    items: tuple[dict[str, Any], ...]
    #: The dataset version that the scenarios may have come from.
    source: str
    #: What the paths of the pipeline's own tasks begin with: "scenarios/train-one/".
    prefix: str


def read_loop(ir: bytes) -> LoopOver | None:
    """None when this is not what `with_scenarios` writes."""
    spec = load_documents(ir)[0]
    try:
        [(name, outer)] = spec["root"]["dag"]["tasks"].items()
        body = spec["components"][outer["componentRef"]["name"]]
        [inner] = body["dag"]["tasks"]
        items = json.loads(outer["parameterIterator"]["items"]["raw"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    if name != LOOP or not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
        return None
    return LoopOver(tuple(items), _source_of(spec["pipelineInfo"], len(items)), f"{LOOP}/{inner}/")


def find_origin(ir: bytes, loop: LoopOver, candidates: Iterable[bytes]) -> bytes | None:
    """The first of these pipelines that, put into this loop, is `ir` to the last byte."""
    # A description can end in words like ours.
    sources = dict.fromkeys((loop.source, ""))
    for candidate in candidates:
        with suppress(InvalidInput, Refused):  # none of its parameters are set by this loop
            if any(with_scenarios(candidate, loop.items, source=one) == ir for one in sources):
                return candidate
    return None


def _source_of(info: dict[str, Any], scenarios: int) -> str:
    """
    >>> _source_of({"description": "Of late.\\n2 scenarios from datasets://flights@7."}, 2)
    'datasets://flights@7'
    """
    last = str(info.get("description", "")).rpartition("\n")[2]
    said = _SOURCE.fullmatch(last)
    return said[2] if said and int(said[1]) == scenarios else ""
