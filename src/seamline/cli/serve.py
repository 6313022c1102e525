"""`seamline serve`."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seamline.cli.pins import pinned_key, pins_path
from seamline.domain.settings import Settings

if TYPE_CHECKING:
    from seamline.app.serve.data_plane import DataPlane
    from seamline.app.serve.far.following import Follower
    from seamline.app.serve.far.serving import FarPlane

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option(
    "--environment", "-e", default="production", show_default=True, help="What is served."
)
@click.option("--from", "origin", help="The control plane's address (else SEAMLINE_URL).")
@click.option(
    "--workspace", type=click.Path(path_type=Path), help="Folder of this data plane alone."
)
@click.option("--key", help="The control plane's public key: a file, its id or its text.")
@click.option("--serve-host", help="Address of the data plane; beyond loopback: --serve-tokens.")
@click.option(
    "--serve-tokens",
    is_flag=True,
    default=None,
    help="It answers nobody without a token, also where the control plane asks for none.",
)
@click.option("--port", type=_PORT, help="Port of the data plane; 0 takes a free one.")
@click.option("--grpc-port", type=_PORT, help="Port of gRPC, with the extra grpc; 0: none.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes on the port.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once it is ready.")
@click.pass_obj
def serve(settings: Any, /, as_json: bool, **given: Any) -> None:
    """Run the data plane alone, on another machine than the control plane's.

    It fetches the environment's signed snapshot and the packages that it names into the folder of
    --workspace, which holds nothing else, and serves them; also while the control plane is not
    there, and after a restart. What is promoted comes by itself. Predictions and feedback are
    logged here, and sent back.

    Without --key, and without a key pinned by `seamline key pin`, the key of the first answer is
    trusted from then on. Ctrl-C stops it.
    """
    from seamline.app.serve.far.serving import serve_far
    from seamline.domain.clock import SystemClock

    wanted = _read(settings, **given)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stop = threading.Event()
    # Not in the handler itself: it may have come while the event's own lock is held.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: threading.Thread(target=stop.set).start())

    def announce(plane: DataPlane, follower: Follower, adopted: bool) -> None:
        if as_json:
            told = {"serve_url": plane.url, "grpc": plane.grpc, "workers": plane.workers}
            click.echo(json.dumps({**told, "adopted": adopted, "public_key": follower.pinned}))
            return
        click.echo(f"predict   {plane.url}/v2" + (" (adopted)" if adopted else ""))
        click.echo(f"from      {wanted.origin.url}, {wanted.environment}")
        click.echo(f"key       {follower.pinned}")
        click.echo(f"folder    {wanted.root}")
        click.echo("Ctrl-C stops it.")

    serve_far(wanted, SystemClock(), stop, announce)


def _read(
    settings: Settings,
    *,
    environment: str,
    origin: str | None,
    workspace: Path | None,
    key: str | None,
    serve_host: str | None,
    serve_tokens: bool | None,
    **ports: int | None,
) -> FarPlane:
    """What is not given is a setting."""
    from seamline.app.serve.far.origin import Origin, check_url
    from seamline.app.serve.far.serving import FarPlane
    from seamline.app.serve.far.trusted import read_key

    url = check_url(origin or settings.url)
    at_origin = dataclasses.replace(settings, url=url)
    pinned = read_key(key) if key else pinned_key(at_origin, pins_path(os.environ))
    given = {name: value for name, value in ports.items() if value is not None}
    return FarPlane(
        (workspace or settings.workspace).resolve(),
        Origin(url, settings.token),
        environment,
        pinned or "",
        serve_host or settings.serve_host,
        settings.serve_tokens if serve_tokens is None else serve_tokens,
        given.get("port", settings.serve_port),
        given.get("grpc_port", settings.grpc_port),
        given.get("workers", settings.workers),
    )
