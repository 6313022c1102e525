"""What a secret or config map can be called, and how large it can be: Kubernetes' own rules.

No message holds a value: what was typed in a wrong place could be one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from seamline.domain.errors import InvalidInput

MAX_BYTES = 1 << 20
MAX_NAME = 253
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_KEY = re.compile(r"[-._a-zA-Z0-9]+")


class SecretKind(StrEnum):
    #: Its values are shown to nobody.
    SECRET = "secret"
    #: Not confidential: its values are shown to whoever may read.
    CONFIG_MAP = "config_map"

    @property
    def spoken(self) -> str:
        return self.value.replace("_", " ")


def check_environment(name: str) -> None:
    """It names a folder. Which environments there are is not known here."""
    if len(name) > 63 or not re.fullmatch(_LABEL, name):
        raise InvalidInput(f"{_shown(name)} cannot be the name of an environment.")


def check_name(name: str, kind: SecretKind) -> None:
    """A DNS subdomain (RFC 1123).

    >>> check_name("db-login.v2", SecretKind.SECRET)
    """
    if len(name) > MAX_NAME or not _SUBDOMAIN.fullmatch(name):
        raise InvalidInput(
            f"{_shown(name)} cannot be the name of a {kind.spoken}.",
            next_step="Use lower-case letters, digits, - and . (at most 253), with a letter or "
            "digit at both ends.",
        )


def check_key(key: str) -> None:
    """
    >>> check_key("API_TOKEN"), check_key("tls.crt")
    (None, None)
    """
    if len(key) > MAX_NAME or not _KEY.fullmatch(key) or key.startswith("..") or key == ".":
        raise InvalidInput(
            f"{_shown(key)} cannot be a key.",
            next_step="Use letters, digits, - _ and . (at most 253), not beginning with two dots.",
        )


def check_size(name: str, values: Mapping[str, bytes]) -> None:
    size = sum(len(key) + len(value) for key, value in values.items())
    if size > MAX_BYTES:
        raise InvalidInput(
            f"{name} would have {size:,} bytes; {MAX_BYTES:,} is the most.",
            next_step="Split it into several, or keep large data as an artifact or a dataset.",
        )


def _shown(text: str) -> str:
    """Up to the first =, since KEY=VALUE may have been meant.

    >>> _shown("PASSWORD=hunter2")
    "'PASSWORD=…'"
    """
    before, separator, _ = text.partition("=")
    return repr(before[:60] + ("=…" if separator else "…" if len(before) > 60 else ""))
