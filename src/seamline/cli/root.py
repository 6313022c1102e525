"""The root group. Commands are named here with one line each and loaded when used."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import click

from seamline import __version__
from seamline.domain.errors import SeamlineError
from seamline.domain.settings import Settings, settings_from

#: name → (module, what it does), in the order of the story.
COMMANDS = {
    "up": ("up", "Start the workspace's server and data plane."),
    "down": ("up", "Stop the workspace's server and data plane."),
    "serve": ("serve", "Run the data plane alone, from a control plane elsewhere."),
    "status": ("status", "What runs here, and where."),
    "demo": ("demo", "The whole loop on real flights, in ten steps."),
    "plan": ("project", "Say what applying a seamline.toml would change."),
    "apply": ("project", "Apply a seamline.toml."),
    "data": ("data", "Datasets and their versions."),
    "pipeline": ("pipeline", "Pipelines and their tags."),
    "run": ("run", "Runs of pipelines."),
    "schedule": ("schedule", "Runs that come back: by a cron expression, or every so often."),
    "model": ("model", "Models and their versions."),
    "package": ("package", "Packages of the indexes: list, show, yank."),
    "evaluate": ("evaluate", "Prove a model version on held-out data."),
    "evaluation": ("evaluation", "Evaluations: list, show, decide other checks."),
    "backtest": ("backtest", "Judge a model over one window of time after another."),
    "compare": ("compare", "Two versions, runs or releases side by side."),
    "release": ("release", "Releases: immutable sets of digests."),
    "gate": ("gate", "Gates: explain them, ask one about a release."),
    "promote": ("promotion", "Ask for a release to become live in an environment."),
    "promotion": ("promotion", "Promotions: see, approve, reject."),
    "rollback": ("rollback", "Back to the release that was live before."),
    "hold": ("rollback", "Holds: nothing comes into an environment by itself."),
    "glass": ("rollback", "Emergencies: break the glass, mend it."),
    "board": ("status", "Environments, what is live, what waits for whom."),
    "predict": ("predict", "Fill a table with what a live model says."),
    "monitor": ("monitor", "Measure what is served; see measurements."),
    "retraining": ("monitor", "Retrainings that triggers asked for."),
    "secret": ("secret", "Secrets and config maps of an environment."),
    "verify": ("verify", "Explain what is proved of a file, a package or a pipeline."),
    "key": ("key", "The workspace's signing keys: see, rotate, pin."),
    "principal": ("principal", "People and their tokens."),
    "approver-key": ("approver_key", "Keys that approvers sign their approvals with."),
    "team": ("team", "Teams, and which published names are theirs."),
    "token": ("token", "Tokens: issue within limits, list, rotate, revoke."),
    "hook": ("hook", "Hooks: who is told of facts, and what became of it."),
    "why": ("audit", "The chain behind one prediction."),
    "audit": ("audit", "The ledger of facts: verify and read it."),
    "gc": ("retention", "What nothing needs any more: see it, remove it."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and help line; imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"seamline.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from difflib import get_close_matches

            close = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {close[0]}?" if close else " See seamline --help."
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seamline")
@click.option("--workspace", type=click.Path(path_type=Path), help="Folder of the workspace.")
@click.option("--url", help="Address of a server to speak to.")
@click.option("--token", help="Who is asking (better: SEAMLINE_TOKEN).")
@click.option("--pinned-key", help="The workspace's signing key (better: seamline key pin).")
@click.pass_context
def seamline(
    ctx: click.Context,
    workspace: Path | None,
    url: str | None,
    token: str | None,
    pinned_key: str | None,
) -> None:
    """Train once, prove it, promote the same bytes."""
    settings = settings_from(os.environ)
    given = {"workspace": workspace, "url": url, "token": token, "pinned_key": pinned_key}
    changes = {name: value for name, value in given.items() if value is not None}
    ctx.obj = Settings(**{**settings.__dict__, **changes})


def main() -> None:
    """Every error of ours becomes one message and exit code 1; usage errors are 2."""
    try:
        seamline(standalone_mode=True)
    except SeamlineError as error:
        click.echo(f"{error.code}: {error}", err=True)
        sys.exit(1)
    except Exception as error:
        report_defect(error)
        sys.exit(1)


def report_defect(error: Exception) -> None:
    """People get a sentence; whoever mends it gets the traceback, in a file."""
    handle, path = tempfile.mkstemp(prefix="seamline-defect-", suffix=".txt")
    with os.fdopen(handle, "w") as file:
        traceback.print_exception(error, file=file)
    click.echo(
        f"errored: {type(error).__name__}: {error}. This is a defect in Seamline; "
        f"please report it with {path}.",
        err=True,
    )
