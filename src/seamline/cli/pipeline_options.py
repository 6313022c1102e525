"""Options that commands of `seamline pipeline` share."""

from __future__ import annotations

import click

in_repository = click.option(
    "--repository",
    default="default/main",
    show_default=True,
    metavar="PROJECT/REPOSITORY",
    help="Where the pipeline is published.",
)
