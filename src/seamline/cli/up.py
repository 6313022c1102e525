"""`seamline up` and `seamline down`."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import click

from seamline.domain.errors import MachineryError
from seamline.runtime.processes import is_alive
from seamline.runtime.server_file import ServerFile, read_server_file

_PORT = click.IntRange(0, 65535)


@click.command()
@click.option("--workspace", type=click.Path(path_type=Path), help="Folder of the workspace.")
@click.option("--host", help="Address to listen on; beyond loopback every request needs a token.")
@click.option("--port", type=_PORT, help="Port of the control plane; 0 takes a free one.")
@click.option("--serve-port", type=_PORT, help="Port of the data plane; 0 takes a free one.")
@click.option("--serve-host", help="Address of the data plane; beyond loopback: --serve-tokens.")
@click.option(
    "--serve-tokens",
    is_flag=True,
    default=None,
    help="The data plane answers nobody without a token, also on this machine.",
)
@click.option(
    "--grpc-port", type=_PORT, help="Port of gRPC on the data plane, with the extra grpc; 0: none."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), help="Processes of the data plane on its port."
)
@click.option("--database-url", help="Rows in PostgreSQL instead of SQLite.")
@click.option(
    "--slots", type=click.IntRange(0), help="Tasks that run at the same time; 0 = one per core."
)
@click.option(
    "--host-containers",
    is_flag=True,
    default=None,
    help="Without podman or docker, run container components here, outside their images.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON once it is ready.")
def up(as_json: bool, **given: Any) -> None:
    """Start the workspace's server and data plane; Ctrl-C stops both."""
    gc.disable()  # What is imported is no garbage: to look for some takes a tenth of a second.
    from seamline.console import make_router
    from seamline.server import serve

    gc.freeze()
    gc.enable()
    settings = click.get_current_context().find_root().obj
    changes = {name: value for name, value in given.items() if value is not None}
    settings = dataclasses.replace(settings, **changes)

    def announce(found: ServerFile, adopted: bool) -> None:
        if as_json:
            click.echo(json.dumps({**dataclasses.asdict(found), "adopted": adopted}))
            return
        click.echo(f"console   {found.url}")
        click.echo(f"predict   {found.serve_url}/v2{_how(found, adopted, settings.workers)}")
        if found.grpc is not None:
            click.echo(f"gRPC      {found.grpc}")
        click.echo(f"workspace {settings.workspace.resolve()}")
        click.echo("Ctrl-C stops both.")

    serve(settings, announce, [make_router()])


def _how(found: ServerFile, adopted: bool, wanted: int) -> str:
    """What is worth saying of a data plane that is not the usual one."""
    told = ["adopted"] if adopted else []
    if found.workers > 1 or wanted > 1:
        told.append(f"{found.workers} {'process' if found.workers == 1 else 'processes'}")
    if found.workers != wanted:
        told.append(f"{wanted} after seamline down and up")
    return f" ({', '.join(told)})" if told else ""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def down(settings: Any, as_json: bool) -> None:
    """Stop the workspace's server and data plane."""
    found = read_server_file(settings.workspace)
    stopped = False
    if found is not None and is_alive(found.identity):
        os.kill(found.identity.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while is_alive(found.identity):
            if time.monotonic() > deadline:
                raise MachineryError(
                    f"The server (pid {found.identity.pid}) has not ended after 30 s."
                )
            time.sleep(0.05)
        stopped = True
    data = {"stopped": stopped}
    click.echo(json.dumps(data) if as_json else "stopped" if stopped else "nothing was running")
