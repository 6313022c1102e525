"""What each declared dependency weighs: rows for docs/explanation/dependencies.md."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@cache
def own_bytes(name: str) -> int:
    """Size of the distribution's own files, bytecode left out."""
    distribution = importlib.metadata.distribution(name)
    paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())


def closure(requirement: Requirement, seen: set[tuple[str, str]]) -> set[str]:
    """The distribution and everything that it brings here, by name."""
    name = canonicalize_name(requirement.name)
    try:
        requires = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    found = {str(name)}
    for extra in ("", *requirement.extras):
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in requires:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                found |= closure(needed, seen)
    return found


def rows(requirements: Iterable[str]) -> Iterable[str]:
    for text in requirements:
        requirement = Requirement(text)
        name = str(canonicalize_name(requirement.name))
        total = sum(own_bytes(one) for one in closure(requirement, set()))
        yield f"| `{name}` | {own_bytes(name) / 1e6:.1f} | {total / 1e6:.1f} |"


def main() -> None:
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    groups = {"core": project["dependencies"], **project["optional-dependencies"]}
    for group, requirements in groups.items():
        print(f"\n{group}\n\n| package | own MB | with MB |\n|---|---|---|")
        print("\n".join(rows(requirements)))


if __name__ == "__main__":
    main()
