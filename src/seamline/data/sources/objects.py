"""Object stores and folders of this machine, through one interface (obstore)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import obstore
from obstore.exceptions import BaseError, UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from seamline.data.credentials import (
    ANONYMOUS,
    Credentials,
    first_line,
    told_without_secrets,
)
from seamline.data.locations import Location
from seamline.domain.digests import Digest
from seamline.domain.errors import InvalidInput, NotFound, Unavailable
from seamline.store.blobs import CHUNK_BYTES
from seamline.store.received import FileReceiver

#: Told how many bytes came, and of how many.
Told = Callable[[int, int], None]
_CHECK = "Check the URI, who may read or write there, and that the store answers."
#: Raised by the store's client, and by Python for what is not there.
ERRORS = (BaseError, OSError, ValueError, TypeError)
_STORES: dict[str, Callable[..., ObjectStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_RETRY = {"max_retries": 4}
#: Options that a request can be signed with; without any of them it is not signed at all.
_SIGNS = {
    *("access_key_id", "service_account_key", "bearer_token", "account_key", "access_key"),
    *("sas_key", "sas_token", "client_secret", "token"),
}
_FILES_OF_THE_MACHINE = {
    *("service_account", "service_account_path", "application_credentials"),
    *("federated_token_file", "container_authorization_token_file", "web_identity_token_file"),
}


@dataclass(frozen=True)
class Found:
    """An object below the location; `path` is its whole key, `relative` what comes after it."""

    path: str
    relative: str
    size_bytes: int
    modified_at: datetime
    etag: str | None


@dataclass(frozen=True)
class Objects:
    """What lies at a location and below it. Errors name the location, and no secret."""

    location: Location
    store: ObjectStore
    credentials: Credentials
    #: The location's own key in the store.
    key: str

    def head(self) -> Found | None:
        """The object at the location itself; None where there is none."""
        if not self.key or self.key.endswith("/"):
            return None
        try:
            with self._telling("cannot be looked at"):
                return self._found(obstore.head(self.store, self.key))
        except FileNotFoundError:
            return None
        except Unavailable:
            # A folder of this machine is no object, and its error is no other than a broken disk's.
            if self.location.is_on_this_machine and Path("/", self.location.path).is_dir():
                return None
            raise

    def list_below(self) -> list[Found]:
        """By path. Names that begin with _ or . are their writer's own (as Spark has it)."""
        prefix = f"{self.key.rstrip('/')}/" if self.key else ""
        with self._telling("cannot be listed"):
            metas = [meta for page in obstore.list(self.store, prefix or None) for meta in page]
        found = (self._found(meta) for meta in metas)
        return sorted((one for one in found if one.size_bytes), key=lambda one: one.path)

    def fetch(self, path: str, target: Path, tell: Told | None = None) -> Digest:
        """The object's bytes into a file; their digest, made while they came."""
        receiver = FileReceiver(target)
        try:
            with self._telling("cannot be read"):
                got = obstore.get(self.store, path)
                whole = int(got.meta["size"])
                came = 0
                for piece in got.stream(min_chunk_size=CHUNK_BYTES):
                    data = bytes(piece)
                    receiver.write(data)
                    came += len(data)
                    if tell is not None:
                        tell(came, whole)
            if came != whole:
                raise Unavailable(
                    f"{self.location.uri} ended after {came:,} of {whole:,} bytes.",
                    next_step="Ask again; nothing was taken in.",
                )
        except FileNotFoundError:
            raise self.not_found() from None
        finally:
            received = receiver.finish()
        return received.digest

    def read(self, path: str) -> bytes | None:
        """A small object; None where there is none."""
        try:
            with self._telling("cannot be read"):
                return bytes(obstore.get(self.store, path).bytes())
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        with self._telling("cannot be written"):
            obstore.put(self.store, path, data)

    def write_file(self, path: str, source: Path) -> None:
        """Streams; seen under its name when it is whole."""
        with self._telling("cannot be written"), source.open("rb") as file:
            obstore.put(self.store, path, file)

    def delete(self, path: str) -> None:
        try:
            with self._telling("cannot be deleted"):
                obstore.delete(self.store, path)
        except FileNotFoundError:
            pass

    def below(self, relative: str) -> str:
        return f"{self.key.rstrip('/')}/{relative}" if self.key else relative

    def not_found(self) -> NotFound:
        return NotFound(
            f"There is nothing at {self.location.uri}.", next_step="Give the URI of a delivery."
        )

    def _found(self, meta: Any) -> Found:
        path = str(meta["path"])
        own = self.key.rstrip("/")
        relative = path[len(own) :].lstrip("/") if path != own else PurePosixPath(path).name
        return Found(path, relative, int(meta["size"]), meta["last_modified"], meta.get("e_tag"))

    def _telling(self, what: str) -> Any:
        return _Telling(f"{self.location.uri} {what}", self.credentials)


class _Telling:
    """`told_without_secrets`, but for FileNotFoundError: what is not there is the caller's."""

    def __init__(self, what: str, credentials: Credentials) -> None:
        self._told = told_without_secrets(what, credentials, ERRORS, _CHECK)

    def __enter__(self) -> None:
        self._told.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError from None
        return self._told.__exit__(kind, error, trace)


def open_objects(location: Location, credentials: Credentials = ANONYMOUS) -> Objects:
    """Raises InvalidInput or Unavailable where the store's client takes no such options."""
    if location.scheme == "file":
        return Objects(location, LocalStore("/"), credentials, location.path)
    options = store_options(location, credentials)
    client = {"allow_http": options.pop("allow_http", "false") == "true"}
    told = told_without_secrets(f"{location.uri} cannot be opened", credentials, ERRORS, _CHECK)
    with told:
        try:
            store = _STORES[location.scheme](
                location.host, config=options, client_options=client, retry_config=_RETRY
            )
        except UnknownConfigurationKeyError as error:
            raise InvalidInput(
                f"The credentials {credentials.name}: {first_line(error)}.",
                next_step="Its keys are the options of the store: access_key_id, endpoint, ….",
            ) from None
    return Objects(location, store, credentials, location.path)


def store_options(location: Location, credentials: Credentials) -> dict[str, str]:
    """What the client is told, as delta-rs takes it too: never a machine's own identity, unless
    the credentials say so.

    >>> from seamline.data.locations import parse_location
    >>> store_options(parse_location("s3://open-data/x"), ANONYMOUS)
    {'skip_signature': 'true'}
    """
    options = dict(credentials.values)
    for key in options:
        if key in _FILES_OF_THE_MACHINE:
            raise InvalidInput(
                f"The credentials {credentials.name} name a file of the server ({key}).",
                next_step="Set what is in it instead: service_account_key.",
            )
    endpoint = options.get("endpoint", options.get("base_url", ""))
    if endpoint.startswith("http://"):
        options["allow_http"] = "true"
    if not credentials.uses_machine and not _SIGNS & set(options):
        options["skip_signature"] = "true"
    return options
