"""Where packages come from: what this machine's pip is told, read at run time, never written down.

uv does not read pip's configuration. A machine whose packages come from a mirror usually says so
there, so what pip would use is handed to uv through its environment variables (not its arguments,
which any user of the machine can list).

pip treats all its indexes as one. uv by default takes a name from the first index that knows it,
even when the version wanted is only on the next one. Between the two: `unsafe-first-match` asks
the extra indexes first and the default one for what they cannot satisfy, so that a name of an
internal index is looked up in the public one only when the internal one has no fitting version.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

_UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
}
_LINE = re.compile(r"^(global|install|:env:)\.([a-z-]+)=(.*)$")
_NETWORK = (
    "error sending request",
    "dns error",
    "connection refused",
    "network connectivity",
    "connect timed out",
    "operation timed out",
    "tunnel error",
)


def parse_pip_config(text: str) -> dict[str, str]:
    """uv's variables from the output of `pip config list`; the environment wins, then [install].

    >>> parse_pip_config("global.index-url='https://mirror.example/simple'\\nglobal.timeout='9'")
    {'UV_DEFAULT_INDEX': 'https://mirror.example/simple'}
    >>> parse_pip_config("global.find-links='/a /b'\\n:env:.find-links='/c'")
    {'UV_FIND_LINKS': '/c'}
    """
    ranks = ("global", "install", ":env:")
    best: dict[str, tuple[int, str]] = {}
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is None or match[2] not in _UV_NAMES:
            continue
        value = " ".join(shlex.split(match[3]))
        if match[2] == "find-links":
            value = ",".join(value.split())
        rank = ranks.index(match[1])
        name = _UV_NAMES[match[2]]
        if name not in best or rank >= best[name][0]:
            best[name] = (rank, value)
    return {name: value for name, (_, value) in best.items()}


def read_index_settings(index_url: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that tell uv where packages are.

    A given index is the default one; else uv's own variables count; else pip's configuration.
    """
    if index_url is not None:
        return {"UV_DEFAULT_INDEX": index_url}
    if any(environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX")):
        return {}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=False)
    settings = parse_pip_config(listed.stdout) if listed.returncode == 0 else {}
    if "UV_INDEX" in settings and not environ.get("UV_INDEX_STRATEGY"):
        settings["UV_INDEX_STRATEGY"] = "unsafe-first-match"
    return settings


def hide_addresses(line: str, settings: Mapping[str, str]) -> str:
    """The line without the index's address, which may hold a password.

    >>> hide_addresses("no x at https://u:p@h/simple/x", {"UV_INDEX": "https://u:p@h/simple"})
    'no x at <index>/x'
    """
    for value in settings.values():
        for address in re.split(r"[,\s]+", value):
            host = urlsplit(address).hostname
            if host:
                line = line.replace(address, "<index>")
                line = re.sub(rf"https?://[^\s/]*{re.escape(host)}[^\s/`)]*", "<index>", line)
    return line


def is_network_trouble(lines: tuple[str, ...]) -> bool:
    """Whether the installer failed to reach the index, rather than being told no by it.

    >>> is_network_trouble(("error: dns error: failed to lookup",))
    True
    >>> is_network_trouble(("no version of flask==99",))
    False
    """
    text = "\n".join(lines).lower()
    return any(sign in text for sign in _NETWORK)
