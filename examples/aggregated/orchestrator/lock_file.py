"""pipelines.lock: which bytes of whose pipeline the aggregated one is made of. Commit it."""

import os
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Pin:
    name: str
    repository: str
    tag: str
    #: sha256:… of the compiled file.
    digest: str


def read_lock(path: Path) -> dict[str, Pin]:
    """By name; nothing is pinned where there is no file."""
    found = tomllib.loads(path.read_text()).get("pipeline", []) if path.exists() else []
    known = [field.name for field in fields(Pin)]
    return {one["name"]: Pin(**{key: one[key] for key in known}) for one in found}


def write_lock(path: Path, pins: Iterable[Pin]) -> None:
    """The old file or the new one, never a part of it."""
    tables = (
        "".join([f'{key} = "{value}"\n' for key, value in asdict(pin).items()])
        for pin in sorted(pins, key=lambda pin: pin.name)
    )
    written = path.with_name(f"{path.name}.new")
    written.write_text("\n".join(f"[[pipeline]]\n{table}" for table in tables))
    os.replace(written, path)
