"""`server.json` of a workspace: which process serves it, and where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from seamline.runtime.processes import ProcessIdentity

FILE_NAME = "server.json"


@dataclass(frozen=True)
class ServerFile:
    identity: ProcessIdentity
    url: str
    serve_url: str
    version: str
    #: host:port of the data plane's gRPC, where it has it.
    grpc: str | None = None
    #: Processes of the data plane that answer.
    workers: int = 1

    def write(self, workspace: Path) -> None:
        partial = workspace / f".{FILE_NAME}.partial"
        partial.write_text(json.dumps(asdict(self)))
        partial.replace(workspace / FILE_NAME)


def read_server_file(workspace: Path) -> ServerFile | None:
    """None when there is none, or it cannot be read."""
    try:
        document = json.loads((workspace / FILE_NAME).read_text())
        identity = ProcessIdentity(**document.pop("identity"))
        return ServerFile(identity, **document)
    except (OSError, ValueError, TypeError, KeyError):
        return None
