"""Where names that were never published here are looked up: where this machine's pip would.

Asked of pip itself when it is first needed, and never written down. Only the place is handed on,
without credentials: whoever follows the redirect uses their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from seamline.runtime.indexes import parse_pip_config

TIMEOUT_S = 60
_DEFAULT = re.compile(r"Base URL of the Python Package Index \(default (\S+)\)")


def index_of_help(text: str) -> str | None:
    """pip's built-in default, out of `pip install --help`.

    >>> index_of_help("-i <url>  Base URL of the Python Package Index\\n (default http://a/simple).")
    'http://a/simple'
    """
    match = _DEFAULT.search(" ".join(text.split()))
    return match.group(1) if match else None


def without_credentials(url: str) -> str:
    """
    >>> without_credentials("https://name:secret@mirror.example:8443/simple/")
    'https://mirror.example:8443/simple'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def read_pip_index() -> str | None:
    """What pip would use on this machine; None when pip does not say."""
    configured = parse_pip_config(_ask_pip("config", "list")).get("UV_DEFAULT_INDEX")
    return configured or index_of_help(_ask_pip("install", "--help"))


class UpstreamIndex:
    """The upstream simple index, read once, at the first question."""

    def __init__(self, read: Callable[[], str | None] = read_pip_index) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._is_known = False
        self._url: str | None = None

    @property
    def url(self) -> str | None:
        """Without a trailing slash and without credentials; None when there is no upstream."""
        with self._lock:
            if not self._is_known:
                found = self._read()
                is_web = found is not None and found.startswith(("http://", "https://"))
                self._url = without_credentials(found) if found and is_web else None
                self._is_known = True
            return self._url

    def url_of(self, name: str) -> str | None:
        """The upstream page of one normalised name."""
        return None if self.url is None else f"{self.url}/{name}/"


def _ask_pip(*arguments: str) -> str:
    wide = {**os.environ, "COLUMNS": "1000"}
    try:
        asked = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            capture_output=True,
            text=True,
            env=wide,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""
