"""What every fact is: a frozen dataclass with a kind, and the one room that appends it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any, ClassVar


class FactClass(StrEnum):
    GOVERNANCE = "governance"
    RUN_EVENT = "run_event"


@dataclass(frozen=True)
class Fact:
    kind: ClassVar[str]
    room: ClassVar[str]
    fact_class: ClassVar[FactClass] = FactClass.GOVERNANCE

    @property
    def subject(self) -> str:
        """The id that people look this fact up by: the first field."""
        return str(getattr(self, dataclasses.fields(self)[0].name))

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def facts_in(module: ModuleType) -> Iterator[type[Fact]]:
    """The fact types that a module defines, in its order."""
    for found in vars(module).values():
        if isinstance(found, type) and issubclass(found, Fact) and found is not Fact:
            yield found
