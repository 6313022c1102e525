"""HTTP requests that carry a token where it belongs, and nowhere else."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from seamline_loader.errors import ConfigurationError

TIMEOUT_S = 60.0
_FOUND = re.compile(r"found sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Address:
    """`url` bears no credentials: it can be shown."""

    url: str
    authorization: str | None = field(default=None, repr=False)

    def send(
        self, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Any:
        """The open response; urllib's errors otherwise."""
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers or {}))
        if self.authorization:
            # Left out of what a redirect makes of it: that may lead to another host.
            request.add_unredirected_header("Authorization", self.authorization)
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)


def address_of(url: str, token: str | None) -> Address:
    """Credentials in the address win over the token.

    >>> address_of("https://ada:secret@host:8443/payloads/", "t").url
    'https://host:8443/payloads'
    >>> address_of("http://host/payloads", "t").authorization
    'Bearer t'
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{parts.scheme}://… is no address here. Use http or https.")
    userinfo, _, host = parts.netloc.rpartition("@")
    authorization = f"Bearer {token}" if token else None
    if userinfo:
        name, _, password = userinfo.partition(":")
        plain = f"{unquote(name)}:{unquote(password)}".encode()
        authorization = f"Basic {base64.b64encode(plain).decode()}"
    return Address(urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", "")), authorization)


def told_by(body: bytes) -> str:
    """What a server says of its refusal, in the spellings of Seamline and of the Open Inference
    Protocol; empty when it is neither.

    >>> told_by(b'{"error": "No such model."}'), told_by(b"<html>")
    ('No such model.', '')
    >>> told_by(b'{"error": {"message": "Altered.", "next_step": "Restore it."}}')
    'Altered. Restore it.'
    """
    try:
        told = json.loads(body)["error"]
        if isinstance(told, str):
            return told
        return f"{told['message']} {told.get('next_step', '')}".strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def altered_to(body: bytes) -> str:
    """What a server found, as 64 digits, that does not hand out bytes which were altered; empty
    when it refuses for another reason.

    >>> told = "a model: expected sha256:" + 64 * "0" + ", found sha256:" + 64 * "f" + "."
    >>> answer = {"error": {"code": "digest_mismatch", "message": told}}
    >>> altered_to(json.dumps(answer).encode()) == 64 * "f"
    True
    >>> altered_to(b'{"error": {"code": "refused", "message": ""}}'), altered_to(b"<html>")
    ('', '')
    """
    try:
        told = json.loads(body)["error"]
        found = _FOUND.search(told["message"]) if told["code"] == "digest_mismatch" else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return found[1] if found else ""


def why(error: Exception) -> str:
    """The reason, for a message.

    >>> why(ConnectionResetError(104, "reset by peer"))
    'reset by peer'
    """
    reason: object = getattr(error, "reason", None) or error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
