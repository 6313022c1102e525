"""How many slots a team may take up, as the applied projects declare it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from seamline.app.declarations import Declarations


class TeamSlots:
    """The declared limits, remembered: the engine asks for one at each turn.

    Whoever applies a project calls `reload`, and then has the engine look again.
    """

    def __init__(self, declarations: Callable[[], Declarations]) -> None:
        self._declarations = declarations
        self._slots: dict[str, int] = {}
        self._reading = threading.Lock()
        self.reload()

    def __call__(self, team: str) -> int | None:
        """None: as many as there are slots."""
        return self._slots.get(team)

    def reload(self) -> None:
        """Of two who have applied something, the last one reads what both have."""
        with self._reading:
            self._slots = {one.name: one.slots for one in self._declarations().teams.values()}

    def all(self) -> dict[str, int]:
        """team → slots, for every team that has a limit."""
        return dict(self._slots)
