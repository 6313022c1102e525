"""`seamline verify`: what is proved of some bytes, and what is not, step by step."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from seamline.cli.command import Client, command, wants_json
from seamline.cli.proofs import DEFAULT_REPOSITORY, examine_artifact, pin_here
from seamline.domain.errors import Refused
from seamline.store.blobs import digest_of_file
from seamline.trust.proof import Findings, examine, proof_from_json, say


@command()
@click.argument("what", metavar="FILE|NAME==VERSION|NAME@TAG")
@click.option(
    "--repository",
    default=DEFAULT_REPOSITORY,
    show_default=True,
    help="Of the pipeline.",
)
def verify(client: Client, what: str, repository: str) -> None:
    """Explain what is proved of a file, a package or a pipeline; exit code 1 when a check fails.

    Digests are computed here, from the bytes themselves; signatures are checked here, against the
    key that is pinned (seamline key pin). What stands with a dot is the server's word only.
    """
    path = Path(what)
    if path.is_file():
        checked = [(what, *_check_file(client, path))]
    else:
        checked = _check_named(client, what, repository)
    data = [
        {"what": name, "digest": digest, **findings.to_json()} for name, digest, findings in checked
    ]
    texts = [f"{name}\n{say(findings)}\n{_verdict(findings)}" for name, _, findings in checked]
    holds = all(findings.holds for _, _, findings in checked)
    click.echo(json.dumps(data, indent=2) if wants_json() else "\n\n".join(texts))
    if not holds:
        raise Refused(
            f"{what} is not proved.",
            next_step="Do not use it before you know why; ask who runs the workspace.",
        )


def _check_file(client: Client, path: Path) -> tuple[str, Findings]:
    """A wheel has to be called as it was when it was published, too."""
    digest = digest_of_file(path)
    [artifact] = client.get("/artifacts", reference=digest)
    subject = path.name if path.suffix == ".whl" else None
    proof = proof_from_json(artifact["proof"])
    return digest, examine(proof, digest, subject=subject, pin=pin_here())


def _check_named(client: Client, what: str, repository: str) -> list[tuple[str, str, Findings]]:
    """Downloads the bytes that the name stands for, and checks these."""
    checked = []
    for artifact in client.get("/artifacts", reference=what, repository=repository):
        with tempfile.TemporaryFile() as file:
            digest = client.download(artifact["path"], file) if artifact["path"] else what
        findings = examine_artifact(artifact, digest, what, repository, pin_here())
        checked.append((artifact["subject"] or what, digest, findings))
    return checked


def _verdict(findings: Findings) -> str:
    return "all of it holds" if findings.holds else "it does not hold: do not use it"
