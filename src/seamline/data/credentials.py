"""What a source or a target is entered with: a secret that says itself where it may be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from seamline.data.locations import Location, is_within
from seamline.domain.errors import InvalidInput, Refused, SeamlineError, Unavailable
from seamline.store.stores import Stores
from seamline.trust.redaction import redact
from seamline.trust.secrets import SecretKind, read_values

#: Of every such secret: the URI that it may be used at and below.
URI = "uri"
#: `identity` = "machine": the machine's own identity is used, as the cloud gives it.
IDENTITY = "identity"
#: Options that are no secret: messages that hold them say more.
_TELLABLE = {"endpoint", "base_url", "region", "user", "account_name", "http_path", "warehouse"}
_LONGEST = 400


@dataclass(frozen=True)
class Credentials:
    """`values` are the options of the source's own library (user, password, access_key_id, …)."""

    name: str
    values: Mapping[str, str] = field(repr=False)
    uses_machine: bool = False

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def redact(self, text: str) -> str:
        return redact(text, (self.values[key] for key in self.values if key not in _TELLABLE))


#: Nobody in particular: object stores are asked without a signature, databases without password.
ANONYMOUS = Credentials("", {})


def load_credentials(
    stores: Stores, environment: str, name: str | None, location: Location
) -> Credentials:
    """Of the environment's secret `name`. Raises Refused where it is for another place: a secret
    is never sent to a host that its owner did not name."""
    if name is None:
        return ANONYMOUS
    try:
        values = {
            key: value.decode()
            for key, value in read_values(stores, environment, SecretKind.SECRET, name).items()
        }
    except UnicodeDecodeError:
        raise InvalidInput(
            f"The secret {name!r} ({environment}) holds bytes that are no text.",
            next_step="Credentials of sources are texts: set it again.",
        ) from None
    prefix = values.pop(URI, None)
    if prefix is None:
        raise InvalidInput(
            f"The secret {name!r} ({environment}) does not say where it may be used.",
            next_step=f"Set its key {URI}: seamline secret set {name} {URI}, with the beginning of "
            "the URI, such as s3://bucket/folder or postgresql://host/database.",
        )
    if not is_within(prefix, location):
        raise Refused(
            f"The secret {name!r} ({environment}) is for {prefix}, not for {location.bare}.",
            next_step="Use the credentials of that place, or let their owner set its uri anew.",
        )
    identity = values.pop(IDENTITY, None)
    if identity not in (None, "machine"):
        raise InvalidInput(
            f"The key {IDENTITY} of the secret {name!r} ({environment}) is not known.",
            next_step="Set it to machine, or delete it.",
        )
    return Credentials(name, values, uses_machine=identity is not None)


@contextmanager
def told_without_secrets(
    what: str, credentials: Credentials, errors: tuple[type[Exception], ...], next_step: str
) -> Iterator[None]:
    """A library's error as ours, in one line and without a value of the credentials; nothing of
    the original is kept, since tracebacks end up in logs."""
    try:
        yield
    except SeamlineError:
        raise
    except errors as error:
        said = credentials.redact(first_line(error))
        raise Unavailable(f"{what}: {said}.", next_step=next_step) from None


def first_line(error: BaseException) -> str:
    """
    >>> first_line(ValueError("no such table: calls.\\n[SQL: SELECT …]"))
    'no such table: calls'
    """
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).strip().rstrip(".")[:_LONGEST]
