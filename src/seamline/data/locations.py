"""Where rows come from or go to: one URI, in which no secret may stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from seamline.domain.errors import InvalidInput, nearest


class Kind(StrEnum):
    FILE = "file"
    OBJECT = "object store"
    SQL = "SQL database"
    WAREHOUSE = "warehouse"


_KINDS = {
    "file": Kind.FILE,
    "s3": Kind.OBJECT,
    "gs": Kind.OBJECT,
    "az": Kind.OBJECT,
    "postgresql": Kind.SQL,
    "mysql": Kind.SQL,
    "sqlite": Kind.SQL,
    "bigquery": Kind.WAREHOUSE,
    "databricks": Kind.WAREHOUSE,
    "snowflake": Kind.WAREHOUSE,
}
#: What people write for one of them.
_ALSO = {
    "postgres": "postgresql",
    "postgresql+psycopg": "postgresql",
    "mariadb": "mysql",
    "mysql+pymysql": "mysql",
    "gcs": "gs",
    "s3a": "s3",
    "abfss": "az",
    "azure": "az",
}
_SAYS_SECRET = re.compile(r"pass|pwd|secret|token|key|signature|^sig$|credential", re.IGNORECASE)
_KEEP_IT = (
    "Keep it in the secret store (seamline secret set NAME KEY, with its key uri naming where it "
    'may be used) and write credentials = "NAME".'
)


@dataclass(frozen=True)
class Location:
    """`uri` as its owner wrote it, with the scheme's one name. `host` is a bucket, a server with
    its port, a project or an account, never with a user; `path` begins after the slash."""

    uri: str
    kind: Kind
    scheme: str
    host: str
    path: str
    user: str | None = None
    options: tuple[tuple[str, str], ...] = ()

    @property
    def bare(self) -> str:
        """Without user and options: what credentials are for."""
        return f"{self.scheme}://{self.host}/{self.path}"

    @property
    def is_on_this_machine(self) -> bool:
        return self.scheme in ("file", "sqlite")


def parse_location(text: str) -> Location:
    """A path without a scheme is a file of this machine. Raises InvalidInput, which repeats
    nothing of a URI that holds a secret.

    >>> parse_location("s3://deliveries/2013/july.csv").path
    '2013/july.csv'
    >>> parse_location("postgresql://ann@db.example:5432/warehouse?sslmode=require").bare
    'postgresql://db.example:5432/warehouse'
    >>> parse_location("postgresql://ann:hunter22@db.example/warehouse")
    Traceback (most recent call last):
    seamline.domain.errors.InvalidInput: A URI cannot hold a password (postgresql://db.example/…...
    """
    if "://" not in text:
        if not text.startswith("/"):
            raise InvalidInput(
                f"{text!r} is a relative path: it is another one for each process.",
                next_step="Write it from / on, or a URI.",
            )
        text = f"file://{text}"
    scheme, _, rest = text.partition("://")
    scheme = _ALSO.get(scheme.lower(), scheme.lower())
    if scheme not in _KINDS:
        raise InvalidInput(
            f"{scheme[:20]!r} is no kind of source or target.", next_step=nearest(scheme, _KINDS)
        )
    kind = _KINDS[scheme]
    if kind is Kind.OBJECT or scheme in ("file", "sqlite"):  # a name may hold any character
        host, _, path = rest.partition("/")
        path = path if kind is Kind.OBJECT else path.lstrip("/")
        found = Location(f"{scheme}://{rest}", kind, scheme, host.lower(), path)
        _check_no_user(found)
    else:
        found = _parse(scheme, kind, rest)
    _check(found)
    return found


def _parse(scheme: str, kind: Kind, rest: str) -> Location:
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        name = parts.hostname or ""
        name = f"[{name}]" if ":" in name else name
        host = f"{name}:{parts.port}" if parts.port else name
    except ValueError:
        raise InvalidInput(
            f"The {scheme} URI cannot be read.", next_step=f"Write {scheme}://HOST/PATH."
        ) from None
    if parts.password is not None:
        raise InvalidInput(
            f"A URI cannot hold a password ({scheme}://{host}/…).", next_step=_KEEP_IT
        )
    options = tuple(parse_qsl(parts.query, keep_blank_values=True))
    for key, _ in options:
        if _SAYS_SECRET.search(key):
            raise InvalidInput(
                f"A URI cannot hold {key[:40]!r} ({scheme}://{host}/…).", next_step=_KEEP_IT
            )
    return Location(
        f"{scheme}://{rest}",
        kind,
        scheme,
        host,
        parts.path.removeprefix("/"),
        parts.username,
        options,
    )


def _check_no_user(location: Location) -> None:
    if "@" in location.host:
        raise InvalidInput(
            f"A {location.scheme}:// URI begins with the bucket, not with a user.",
            next_step=_KEEP_IT,
        )


def _check(location: Location) -> None:
    scheme, on_this_machine = location.scheme, location.is_on_this_machine
    if on_this_machine and location.host:
        raise InvalidInput(
            f"{scheme}://{location.host} names another machine.",
            next_step=f"Write three slashes: {scheme}:///absolute/path.",
        )
    if not on_this_machine and not location.host:
        raise InvalidInput(f"{location.uri} names no host.", next_step=f"Write {scheme}://HOST/….")
    if ".." in location.path.split("/"):
        raise InvalidInput(f"{location.uri} holds '..'.", next_step="Write the path in full.")
    if not location.uri.isprintable():
        raise InvalidInput(
            f"The URI {location.uri!r} holds characters that do not print.",
            next_step="Write each as %XX where the place knows that; else rename what lies there.",
        )


def is_within(prefix: str, location: Location) -> bool:
    """Whether it is the prefix itself or below it, on the same host.

    >>> is_within("s3://lake/calls", parse_location("s3://lake/calls/july.csv"))
    True
    >>> is_within("s3://lake/calls", parse_location("s3://lake/calls-of-others/july.csv"))
    False
    """
    allowed = parse_location(prefix)
    if (allowed.scheme, allowed.host) != (location.scheme, location.host):
        return False
    root = allowed.path.rstrip("/")
    return not root or location.path == root or location.path.startswith(f"{root}/")
