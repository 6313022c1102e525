"""All settings, in one place. Each has a flag; each can come from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from seamline.domain.errors import InvalidInput, nearest

PREFIX = "SEAMLINE_"
#: What seamline-loader reads, inside whatever loads a thin wheel; no settings of the platform.
LOADERS = frozenset(
    PREFIX + name
    for name in (
        "ENDPOINT",
        "LOADER_CONFIG",
        "PAYLOADS",
        "PAYLOAD_CACHE",
        "PAYLOAD_CACHE_SIZE",
    )
)


@dataclass(frozen=True)
class Settings:
    #: Folder that holds everything of a workspace.
    workspace: Path = Path(".seamline")
    #: Address of a server to speak to instead of the workspace's own.
    url: str = ""
    #: Token that says who is asking; without one, loopback is the operating system's user.
    token: str = ""
    #: Id or public key of the workspace's signing key: whatever does not hold by it is refused.
    pinned_key: str = ""
    #: Address that the control plane listens on.
    host: str = "127.0.0.1"
    #: Port of the control plane; 0 takes a free one.
    port: int = 8765
    #: Port of the data plane; 0 takes a free one.
    serve_port: int = 8766
    #: Address that the data plane listens on; beyond loopback it needs `serve_tokens`.
    serve_host: str = "127.0.0.1"
    #: Whether the data plane answers nobody without a token, also on its own machine.
    serve_tokens: bool = False
    #: Port of gRPC on the data plane, which needs the extra `grpc`; 0 does without.
    grpc_port: int = 0
    #: Processes of the data plane that answer on its port, with one version of what is live.
    workers: int = 1
    #: Rows in PostgreSQL instead of SQLite: postgresql+psycopg://…
    database_url: str = ""
    #: Tasks that run at the same time; 0 = one per core.
    slots: int = 0
    #: Whether container components may run outside their images, as processes of this machine.
    host_containers: bool = False


def settings_from(environ: Mapping[str, str]) -> Settings:
    """
    >>> settings_from({"SEAMLINE_PORT": "9000"}).port
    9000
    """
    known = {PREFIX + field.name.upper(): field for field in fields(Settings)}
    values: dict[str, object] = {}
    for name, text in environ.items():
        if not name.startswith(PREFIX) or name in LOADERS:
            continue
        if name not in known:
            raise InvalidInput(f"{name} is not a setting.", next_step=nearest(name, known))
        values[known[name].name] = _convert(name, str(known[name].type), text)
    return Settings(**values)  # type: ignore[arg-type]


def _convert(name: str, kind: str, text: str) -> object:
    if kind == "int":
        if not text.isdigit():
            raise InvalidInput(f"{name}={text!r} has to be a whole number.")
        return int(text)
    if kind == "bool":
        if text not in ("0", "1"):
            raise InvalidInput(f"{name}={text!r} has to be 0 or 1.")
        return text == "1"
    return Path(text) if kind == "Path" else text
