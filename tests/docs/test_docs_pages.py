"""What the README and the docs show is executed, or says why it is not.

In a page, the line before a fenced block can be a mark:

    <!-- not executed: reason -->    shown only
    <!-- file: NAME -->              written to the page's folder

Without a mark, `console` blocks run their `$ ` lines with the installed program (a line that ends
with `# refused` has to exit with 1), and `python` blocks run as programs. Pages of one story run
one after another in one folder, with one server.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STORIES = (
    (
        "docs/tutorial/first-loop.md",
        "docs/howto/add-a-model.md",
        "docs/howto/scenarios.md",
        "docs/howto/promote-and-approve.md",
        "docs/howto/gates-that-run.md",
        "docs/howto/gates.md",
        "docs/howto/go-back.md",
        "docs/howto/serve-and-send-feedback.md",
        "docs/howto/fill-a-table.md",
        "docs/howto/serve-elsewhere.md",
        "docs/howto/keep-secrets.md",
        "docs/howto/run-behind-a-token.md",
        "docs/howto/back-up-a-workspace.md",
    ),
    ("docs/howto/prove-a-model.md",),
    ("docs/howto/kfp-client.md",),
    ("docs/howto/runs.md",),
    ("docs/howto/share-a-registry.md",),
    ("docs/howto/contracts-between-teams.md",),
    ("docs/howto/verify.md",),
    ("docs/howto/sources-and-sinks.md",),
    ("docs/howto/compare-versions.md",),
    ("docs/howto/contracts-of-data.md",),
    ("docs/howto/versions-and-retention.md",),
    ("docs/howto/edge-devices.md",),
    ("docs/howto/promote-from-ci.md", "docs/howto/webhooks.md"),
)
TIMEOUT_S = 900
MARK = re.compile(r"<!-- (not executed|file): (\S.*) -->")
PRELUDE = """
set -u -o pipefail
fail() { echo "FAILED at $place (exit code $1)"; exit 97; }
start_server() {
    exec 3< <(exec seamline up --port 0 --serve-port 0 --json)
    read -r address <&3
}
trap 'seamline down > /dev/null' EXIT
"""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    #: "not executed" or "file", with what it says; empty without a mark.
    mark: str
    says: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    found = [ROOT / "README.md", ROOT / "bench" / "README.md", *sorted(DOCS.rglob("*.md"))]
    return [str(path.relative_to(ROOT)) for path in found if path.exists()]


def blocks_of(page: str) -> Iterator[Block]:
    before, opened, language, mark = "", 0, "", ("", "")
    kept: list[str] = []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), 1):
        if line.startswith("```") and not opened:
            opened, language, kept = number, line[3:].strip(), []
            found = MARK.fullmatch(before)
            mark = (found[1], found[2]) if found else ("", "")
        elif line.startswith("```"):
            yield Block(page, opened, language, "\n".join(kept) + "\n", *mark)
            opened = 0
        elif opened:
            kept.append(line)
        before = line
    assert not opened, f"{page}:{opened}: the block is not closed"


def script_of(block: Block) -> Iterator[str]:
    """The block as lines of a shell script."""
    if block.mark == "not executed" or block.language == "json":
        return
    if block.mark == "file":
        yield f"cat > {shlex.quote(block.says)} <<'END_OF_BLOCK'\n{block.text}END_OF_BLOCK"
    elif block.language == "python":
        yield f"place={shlex.quote(block.place)}"
        yield f"python - <<'END_OF_BLOCK' || fail $?\n{block.text}END_OF_BLOCK"
    else:
        for offset, line in enumerate(block.text.splitlines(), 1):
            if line.startswith("$ "):
                yield f"place={shlex.quote(f'{block.page}:{block.line + offset}')}"
                yield from command_lines(line.removeprefix("$ "))


def command_lines(command: str) -> Iterator[str]:
    yield f"echo {shlex.quote('$ ' + command)}"
    if command == "seamline up":
        yield "start_server || fail $?"
    elif command.endswith("# refused"):
        yield f"{command}"
        yield 'code=$?; [ "$code" = 1 ] || fail "$code, and 1 was expected"'
    else:
        yield f"{{ {command}\n}} || fail $?"


def test_each_block_is_executed_or_says_why_not() -> None:
    unclear = []
    told = {page for story in STORIES for page in story}
    for page in pages():
        for block in blocks_of(page):
            if block.language == "json":
                json.loads(block.text)
            elif block.mark == "not executed":
                assert len(block.says) > 8, block.place
            elif page not in told:
                unclear.append(f"{block.place}: it is in no story")
            elif block.mark != "file" and block.language not in ("console", "python"):
                unclear.append(f"{block.place}: {block.language or 'no language'} is not executed")
            elif block.language == "console" and not block.text.startswith("$ "):
                unclear.append(f"{block.place}: a console block starts with a command")
    assert unclear == []


@pytest.mark.parametrize("story", STORIES, ids=lambda story: Path(story[0]).stem)
def test_the_pages_of_a_story_hold(story: tuple[str, ...], tmp_path: Path) -> None:
    lines = [line for page in story for block in blocks_of(page) for line in script_of(block)]
    script = tmp_path / "story.sh"
    script.write_text("\n".join([PRELUDE, *lines]) + "\n")
    folder = tmp_path / "folder"
    folder.mkdir()
    environ = {name: text for name, text in os.environ.items() if not name.startswith("SEAMLINE_")}
    environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}"
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", script],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(TIMEOUT_S)
        finally:
            end_what_is_left(process.pid, folder)
    assert code == 0, log.read_text()[-6000:]


def end_what_is_left(leader: int, folder: Path) -> None:
    """The script's process group, and data planes of its workspaces (sessions of their own)."""
    groups = [leader]
    # What is ending may take folders and files away meanwhile: the walk goes on without them.
    for place, _, names in os.walk(folder):
        if "dataplane.json" in names:
            with suppress(FileNotFoundError):
                groups.append(json.loads(Path(place, "dataplane.json").read_text())["pid"])
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            continue
