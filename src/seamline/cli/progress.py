"""Progress on long work: a bar on a terminal's stderr, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol


class Bar(Protocol):
    def update(self, done: int, total: int | None, says: str) -> None:
        """How far it is, of how much, and what is going on."""
        ...


class _Silent:
    def update(self, done: int, total: int | None, says: str) -> None:
        return


class _Rich:
    def __init__(self, progress: Any, says: str) -> None:
        self._progress = progress
        self._task = progress.add_task(says, total=None)

    def update(self, done: int, total: int | None, says: str) -> None:
        self._progress.update(self._task, completed=done, total=total, description=says)


def is_watched() -> bool:
    """Whether somebody sees a bar move."""
    return sys.stderr.isatty()


@contextmanager
def live_view(draw: Callable[[int, int], Sequence[Sequence[tuple[str, str]]]]) -> Iterator[None]:
    """Shows on stdout, until the block ends, what `draw` makes of (columns, lines) just then:
    lines of (text, style), called four times a second on a thread of its own."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)

    def picture() -> Text:
        lines = [Text.assemble(*words) for words in draw(console.width, console.height)]
        return Text("\n").join(lines)

    with Live(
        get_renderable=picture,
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


@contextmanager
def progress_bar(says: str) -> Iterator[Bar]:
    if not is_watched():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Elapsed())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Rich(progress, says)
