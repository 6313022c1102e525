"""What a model runs on: a worker process, or its ONNX twin in the plane's own."""

from __future__ import annotations

from typing import Any, Protocol

from seamline.domain.errors import MachineryError, Unavailable
from seamline.serve.datatypes import Columns
from seamline.serve.flat_rows import Given


class ModelFailed(MachineryError):
    """The model raised on these rows; other rows may be fine."""


class EngineLost(Unavailable):
    """What was asked went away with these rows in its hands; they may be why."""


class EngineHung(EngineLost):
    """It was ended because it did not answer: nobody but these rows can be why."""


class Engine(Protocol):
    """Answers one batch at a time; whoever asks more at once is kept waiting.

    It may rest: its memory is given back, until it is asked or woken.
    """

    @property
    def is_alive(self) -> bool:
        """Whether it answers now."""
        ...

    @property
    def is_resting(self) -> bool: ...

    @property
    def can_answer(self) -> bool:
        """Now, or once it has loaded what rests."""
        ...

    @property
    def problem(self) -> str:
        """Why it does not answer now, where it does not."""
        ...

    @property
    def probe(self) -> dict[str, Any] | None:
        """One sample row of the package, by name."""
        ...

    async def predict(self, given: Given, rows: int) -> Columns:
        """One value per row and output. ModelFailed, or Unavailable where it went away."""
        ...

    async def come_back(self) -> None:
        """Returns once it answers again after it was lost; Unavailable where it does not."""
        ...

    async def wake(self) -> None:
        """Returns once it is loaded, from bytes that were verified again; raises why it is not."""
        ...

    async def rest(self) -> None:
        """Its memory is free once what it works on is answered."""
        ...

    async def close(self) -> None: ...
