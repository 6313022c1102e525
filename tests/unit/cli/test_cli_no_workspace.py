"""A command that only reads, in a folder without a workspace, says so and leaves nothing there."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from seamline.cli.command import READING
from seamline.cli.root import seamline
from seamline.domain.errors import NotFound


def reading_commands(
    command: click.Command = seamline, words: tuple[str, ...] = ()
) -> Iterator[list[str]]:
    """With something for each argument that has to be given."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from reading_commands(found, (*words, name))
    elif words[-1] in READING:
        given = ["x" for one in command.params if isinstance(one, click.Argument) and one.required]
        options = [
            word
            for one in command.params
            if isinstance(one, click.Option) and one.required
            for word in (one.opts[0], *getattr(one.type, "choices", ("x",))[:1])
        ]
        yield [*words, *given, *options]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEAMLINE_WORKSPACE", raising=False)
    monkeypatch.delenv("SEAMLINE_URL", raising=False)
    return tmp_path


def test_nothing_is_made_by_reading(empty):
    asked = list(reading_commands())
    assert {"list", "show", "why", "board", "verify"} <= {name for words in asked for name in words}
    for words in asked:
        result = CliRunner().invoke(seamline, words)
        says = f"There is no workspace at {empty / '.seamline'}."
        assert says in f"{result.exception}{result.output}", words
        assert result.exit_code != 0, words
    assert list(empty.iterdir()) == []


def test_the_workspace_above_is_named(empty, monkeypatch):
    (empty / ".seamline").mkdir()
    below = empty / "src" / "pipelines"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    result = CliRunner().invoke(seamline, ["run", "list"])
    assert isinstance(result.exception, NotFound)
    assert f"Go to {empty}, or name it with --workspace" in str(result.exception)
