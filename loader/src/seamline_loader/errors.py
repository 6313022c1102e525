"""What can go wrong on the way to a payload; each message ends with what to do."""

from __future__ import annotations


class LoaderError(RuntimeError):
    """Root of what this package raises on purpose."""


class ConfigurationError(LoaderError):
    """A setting cannot be understood."""


class NoLocation(LoaderError):
    """Nothing says where payloads are."""


class NotThere(LoaderError):
    """The location answers, and has no such payload."""


class NotAllowed(LoaderError):
    """The location wants a token, or another one."""


class Unreachable(LoaderError):
    """The location does not answer as it should, also after several attempts."""


class DiskFull(LoaderError):
    """The payload does not fit beside what else is on the disk."""


class CacheUnusable(LoaderError):
    """The folder that keeps payloads cannot be read or written."""


class EndpointError(LoaderError):
    """The endpoint did not answer with a prediction."""


class WrongBytes(LoaderError):
    """What arrived is not what was asked for; it was thrown away."""

    def __init__(self, place: str, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{place} sent other bytes: expected sha256:{expected}, found sha256:{actual}. "
            "They were thrown away; put the recorded payload there, or name another location."
        )
        self.expected = expected
        self.actual = actual
