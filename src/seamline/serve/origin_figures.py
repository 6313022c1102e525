"""How a data plane elsewhere stands to its origin, as its metrics say it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from seamline.serve.metrics import Metrics
from seamline.store.blobs import write_atomically

FILE_NAME = "following.json"


@dataclass(frozen=True)
class Contact:
    """When the origin answered last (Unix time), why what it offered was not taken, and how many
    packages are still to come."""

    at: float = 0.0
    refused: str = ""
    awaited: int = 0


def write_contact(root: Path, contact: Contact) -> None:
    write_atomically(root / FILE_NAME, json.dumps(asdict(contact)).encode())


def put_origin_figures(root: Path, metrics: Metrics) -> None:
    """Nothing for a root that follows no other."""
    try:
        contact = Contact(**json.loads((root / FILE_NAME).read_bytes()))
    except (OSError, ValueError, TypeError):
        return
    metrics.put("seamline_origin_contact_timestamp_seconds", (), contact.at)
    metrics.put("seamline_origin_refused", (), 1 if contact.refused else 0)
    metrics.put("seamline_packages_awaited", (), contact.awaited)
    waiting = sum(1 for _ in (root / "logs").glob("*/*/*.arrows"))
    metrics.put("seamline_log_segments", (), waiting)
