"""`seamline demo`: the ten steps, in a workspace of its own or against a running server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from seamline.domain.errors import MachineryError, Refused


@click.command()
@click.option("--keep", is_flag=True, help="Leave the server running at the end.")
@click.option("--swap", help="Deliver two of the first six months in swapped order, like 2,5.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("demo-workspace"),
    show_default=True,
    help="Workspace of the demo; emptied first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_obj
def demo(settings: Any, keep: bool, swap: str | None, folder: Path, as_json: bool) -> None:
    """The whole loop on real flights, in ten steps, through public interfaces only.

    With SEAMLINE_URL (or --url) the same steps run against that server.
    """
    program = _program()
    more = [*(["--swap", swap] if swap else []), *(["--json"] if as_json else [])]
    if settings.url:
        sys.exit(subprocess.run([sys.executable, program, "--url", settings.url, *more]).returncode)
    _empty(folder)
    server, address = _start(folder)
    code = 1
    try:
        code = subprocess.run([sys.executable, program, "--url", address["url"], *more]).returncode
        if not as_json:
            _say_what_next(folder, address, kept=keep and code == 0)
    finally:
        if not (keep and code == 0):
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=60)
    sys.exit(code)


def _program() -> Path:
    """The script in the repository, or the copy that the wheel carries."""
    package = Path(__file__).resolve().parents[1]
    for place in (package.parents[1] / "examples", package / "examples"):
        if (place / "flights" / "demo.py").exists():
            return place / "flights" / "demo.py"
    raise MachineryError("The demo's files are not installed with this package.")


def _empty(folder: Path) -> None:
    """Only ever removes a folder that a demo made."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / "seamline.db").exists() and not (folder / "server.lock").exists():
            raise Refused(
                f"{folder} holds something else than a demo's workspace.",
                next_step="Name another folder with --folder.",
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def _start(folder: Path) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    """A server in a process group of its own, so that Ctrl-C reaches the demo first."""
    command = [str(Path(sys.argv[0]).resolve()), "--workspace", str(folder), "up"]
    command += ["--port", "0", "--serve-port", "0", "--json"]
    environ = {name: value for name, value in os.environ.items() if name != "SEAMLINE_TOKEN"}
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        raise MachineryError("The demo's server did not start.", next_step="Its message is above.")
    return server, json.loads(line)


def _say_what_next(folder: Path, address: dict[str, Any], kept: bool) -> None:
    up = "" if kept else f"\nstart it again        seamline --workspace {folder} up"
    click.echo(f"\nconsole               {address['url']}{up}")
    click.echo("three things to try")
    click.echo(f"  seamline --workspace {folder} board")
    click.echo(f"  seamline --workspace {folder} model show air-time")
    click.echo(f"  seamline --workspace {folder} retraining list")
    if kept:
        click.echo(f"stop it               seamline --workspace {folder} down")
