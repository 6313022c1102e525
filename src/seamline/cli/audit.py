"""`seamline audit …` and `seamline why`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import click

from seamline.cli.audit_anchors import read_bytes, tag_head, tagged_heads, written
from seamline.cli.command import Client, command, key_values, table
from seamline.cli.proofs import pin_here
from seamline.domain.errors import Refused
from seamline.trust.audit import verify_export

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def audit() -> None:
    """The ledger of facts: verify and read it."""


@command(audit)
@click.option("--anchor", "anchors", multiple=True, type=_FILE, help="A head signed earlier.")
@click.option("--git", "repository", type=_FOLDER, help="Anchors in this repository's tags.")
def verify(client: Client, anchors: tuple[Path, ...], repository: Path | None) -> tuple[Any, str]:
    """Recompute the hash chain of governance facts; names the first broken one. Then compare
    the rows of releases, promotions, approvals, policies and pointers with these facts.

    With anchors the whole ledger is fetched and verified here, against the pinned key.
    """
    envelopes = [*map(read_bytes, anchors), *(tagged_heads(repository) if repository else ())]
    if anchors or repository:
        with tempfile.TemporaryFile() as file:
            client.fetch("/audit/export", file)
            file.seek(0)
            return _verified(file, pin_here(), envelopes)
    found = client.get("/audit/verify")
    if found["broken"] is not None:
        raise Refused(
            f"The chain of {found['checked']} facts breaks at {found['broken']}.",
            next_step="The database was changed by hand; compare with a backup.",
        )
    if found["problems"]:
        raise Refused(
            f"Rows were changed by hand: {'; '.join(found['problems'])}.",
            next_step="What is told by the facts was done; compare with a backup.",
        )
    return found, f"{found['checked']} facts verified, head {found['head']}"


@command(audit)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def export(client: Client, path: Path) -> tuple[Any, str]:
    """Write every governance fact, signed, into FILE (JSON lines)."""
    with written(path) as file:
        digest = client.fetch("/audit/export", file)
    data = {"path": str(path), "digest": digest, "size_bytes": path.stat().st_size}
    return data, f"{path} ({digest})\n\nverify it anywhere: seamline audit check {path}"


@audit.command()
@click.argument("path", type=_FILE, metavar="FILE")
@click.option(
    "--key", help="Id or public key of the workspace; else the signatures prove no owner."
)
@click.option("--anchor", "anchors", multiple=True, type=_FILE, help="A head signed earlier.")
@click.option("--git", "repository", type=_FOLDER, help="Anchors in this repository's tags.")
@click.option(
    "--approver", "approvers", multiple=True, help="NAME=KEY: id or public key of theirs."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    path: Path,
    key: str | None,
    anchors: tuple[Path, ...],
    repository: Path | None,
    approvers: tuple[str, ...],
    as_json: bool,
) -> None:
    """Verify an export, without any server or workspace."""
    envelopes = [*map(read_bytes, anchors), *(tagged_heads(repository) if repository else ())]
    with path.open("rb") as file:
        data, text = _verified(file, key, envelopes, key_values(approvers))
    click.echo(json.dumps(data, indent=2) if as_json else text)


@command(audit)
@click.option("--to", "path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
@click.option("--git", "repository", type=_FOLDER, help="Also as a tag of this repository.")
def anchor(client: Client, path: Path | None, repository: Path | None) -> tuple[Any, str]:
    """Sign how far the ledger goes. Keep it where whoever runs the workspace cannot write."""
    found = client.get("/audit/head")
    path = path or Path(f"audit-head-{found['chain_seq']}.json")
    with written(path) as file:
        file.write(found["envelope"].encode())
    said = f"fact {found['chain_seq']}, {found['hash']}, in {path}"
    if repository is not None:
        said += f" and tag {tag_head(repository, found)}"
    return found, said


@command(audit)
@click.option("--kind", "kinds", multiple=True, help='"approval.given", or "promotion.*".')
@click.option("--by", help="Only what this principal did.")
@click.option("--since", help="A date, a time, or how long ago: 7d.")
@click.option("--until", help="The same; not any more of it.")
@click.option("--subject", help="Only facts about this id.")
@click.option("--before", type=click.IntRange(0), help="Only older ones than this `seq`.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
def log(
    client: Client,
    kinds: tuple[str, ...],
    by: str | None,
    since: str | None,
    until: str | None,
    subject: str | None,
    before: int | None,
    limit: int,
) -> tuple[Any, str]:
    """Facts, newest first."""
    asked = {"by": by, "since": since, "until": until, "subject": subject, "before": before}
    found = client.get("/facts", kind=list(kinds) or None, limit=limit, **asked)
    rows = [{**one, "kind": _said(one)} for one in found]
    return found, table(rows, ["at", "kind", "subject", "by", "caused_by"], "No facts yet.")


@command()
@click.argument("prediction_id")
def why(client: Client, prediction_id: str) -> tuple[Any, str]:
    """The chain behind one prediction, from the answer back to the data and the commit."""
    found = client.get(f"/predictions/{prediction_id}/why")
    lines = [f"{one['step'].ljust(14)} {one['sentence']}" for one in found["chain"]]
    return found, "\n".join(lines)


def _said(fact: dict[str, Any]) -> str:
    """
    >>> _said({"kind": "approval.given", "body": {"self_approved": ["requester"]}})
    'approval.given (self-approved: requester)'
    """
    parties = fact["body"].get("self_approved")
    return f"{fact['kind']} (self-approved: {', '.join(parties)})" if parties else fact["kind"]


def _verified(
    file: IO[bytes],
    pin: str | None,
    anchors: Sequence[bytes],
    approvers: Mapping[str, str] | None = None,
) -> tuple[Any, str]:
    report = verify_export(file, pin, anchors, approvers)
    if report.problems:
        raise Refused(
            f"The ledger does not hold. {' '.join(report.problems)}",
            next_step="Compare it with a backup and with what was exported earlier.",
        )
    trusted = f"signed by the pinned key's workspace ({pin})" if pin else "whose, nobody pinned"
    held = f", {report.anchors} anchors hold" if report.anchors else ""
    said = f"{report.facts} facts verified, {trusted}{held}, head {report.head}"
    if report.approvals:
        said += (
            f"\n{report.approvals} approvals: {report.signed} signed by their approver's own key"
        )
        said += f", {report.self_approved} self-approved"
    return report.to_json(), said
