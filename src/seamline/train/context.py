"""What a run tells those who resolve URIs for it, and what they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunContext:
    run_id: str
    environment: str
    pipeline: str
    requested_by: str
    task: str


@dataclass(frozen=True)
class ResolvedArtifact:
    """`path` holds exactly the bytes that `digest` names: whoever resolves has verified them."""

    path: Path
    digest: str
    metadata: Mapping[str, Any]
    #: Pinned: resolving it again gives the same bytes ("datasets://flights@7").
    uri: str


ResolveUri = Callable[[str, RunContext], ResolvedArtifact]
