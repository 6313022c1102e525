"""The serving snapshot: one signed file per environment, all that the data plane reads.

It names, by digest, what an environment serves. It is replaced in one step; its signature and
its shape are checked each time it is read, and whatever does not hold is refused (law 2).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec

from seamline.domain.digests import parse_digest
from seamline.domain.errors import InvalidInput, NotFound, Refused, nearest
from seamline.serve.datatypes import DATATYPES, TEXT
from seamline.serve.snapshots.families import Column, Family, check_family
from seamline.serve.snapshots.input_rules import InputExpression, InputRule, prepare_rules
from seamline.store.blobs import write_atomically
from seamline.store.canonical import canonical_json
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.statements import SNAPSHOT_TYPE, open_envelope, sign_envelope

SCHEMA = 1
__all__ = [
    "Column",
    "EndpointSpec",
    "LogPolicy",
    "ServingSnapshot",
    "Signature",
    "Standby",
    "check_snapshot",
    "open_snapshot",
    "package_digests",
    "read_snapshot",
    "snapshot_path",
    "write_snapshot",
]


@dataclass(frozen=True)
class Signature:
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]


class TwinPolicy(StrEnum):
    """Whether the package's ONNX twin answers, in the data plane's own process."""

    #: Where there is one that loads and says what the model says; the model itself otherwise.
    PREFER = "prefer"
    #: The model itself, in a worker process.
    NEVER = "never"
    #: The twin, or nothing.
    REQUIRE = "require"


class LogPolicy(StrEnum):
    """What is done with requests that the prediction log has no room for."""

    #: Answered; their rows are dropped once as many wait as may, and counted.
    DROP = "drop"
    #: Refused, from when a row cannot be written: what is answered is in the log.
    BLOCK = "block"


@dataclass(frozen=True)
class EndpointSpec:
    """One endpoint: which bytes answer, how they are started, what is logged.

    `event_time` names the column that says when the row happened; `context` are columns that
    are logged but not given to the model; `private` are logged as keyed hashes only, `unlogged`
    not at all.
    """

    endpoint: str
    model: str
    model_version: str
    package_digest: str
    payload_digest: str
    wheel_path: str
    wheel_name: str
    module: str
    task: str
    signature: Signature
    python: str
    requirements: tuple[str, ...] = ()
    event_time: str | None = None
    context: tuple[Column, ...] = ()
    private: tuple[str, ...] = ()
    #: What inputs are held to, from the contract of the training data.
    rules: tuple[InputRule, ...] = ()
    expressions: tuple[InputExpression, ...] = ()
    #: Many models behind this one name: then those hold the bytes, and `package_digest` is that of
    #: the list of them.
    family: Family | None = None
    twin: TwinPolicy = TwinPolicy.PREFER
    unlogged: tuple[str, ...] = ()
    on_log_full: LogPolicy = LogPolicy.DROP


@dataclass(frozen=True)
class Standby:
    """A release that is loaded and proved, and answers nobody: what may have to at any moment."""

    release: str
    release_alias: str
    endpoints: tuple[EndpointSpec, ...]


@dataclass(frozen=True)
class ServingSnapshot:
    """`release` is empty, and no endpoint is named, where nothing is live."""

    environment: str
    version: int
    release: str
    release_alias: str
    written_at: str
    endpoints: tuple[EndpointSpec, ...]
    schema: int = SCHEMA
    #: What to keep warm, the most wanted first.
    standbys: tuple[Standby, ...] = ()


def snapshot_path(root: Path, environment: str) -> Path:
    return root / "serving" / f"{environment}.json"


def write_snapshot(path: Path, snapshot: ServingSnapshot, key: SigningKey) -> None:
    """Sign and replace: the data plane picks it up by itself."""
    check_snapshot(snapshot)
    payload = canonical_json(dataclasses.asdict(snapshot))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, sign_envelope(SNAPSHOT_TYPE, payload, key))


def read_snapshot(path: Path, public_key: PublicKey) -> ServingSnapshot:
    """The snapshot, once signature and shape hold; NotFound, InvalidInput or Refused if not."""
    try:
        envelope = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"There is no serving snapshot at {path}.") from None
    return open_snapshot(envelope, path.stem, public_key)


def open_snapshot(envelope: bytes, environment: str, public_key: PublicKey) -> ServingSnapshot:
    """What an envelope of that environment holds; InvalidInput or Refused as `read_snapshot`."""
    what = f"{environment}.json"
    payload = open_envelope(envelope, SNAPSHOT_TYPE, [public_key])
    try:
        snapshot = msgspec.json.decode(payload, type=ServingSnapshot)
    except msgspec.DecodeError as error:
        raise InvalidInput(f"{what} is not a serving snapshot: {error}.") from error
    check_snapshot(snapshot)
    if environment != snapshot.environment:
        raise Refused(f"{what} holds the snapshot of environment {snapshot.environment!r}.")
    return snapshot


def package_digests(snapshot: ServingSnapshot) -> dict[str, str]:
    """Digest → what it is, of every package that may have to answer, standbys' and families'."""
    found: dict[str, str] = {}
    standing_by = [spec for standby in snapshot.standbys for spec in standby.endpoints]
    for spec in (*snapshot.endpoints, *standing_by):
        for one in spec.family.members if spec.family is not None else (spec,):
            found[one.package_digest] = f"{one.model} {one.model_version}"
    return found


def check_snapshot(snapshot: ServingSnapshot) -> None:
    """Raises Refused for another schema, InvalidInput for names that cannot be served."""
    if snapshot.schema != SCHEMA:
        raise Refused(
            f"The snapshot has schema {snapshot.schema}; this data plane reads {SCHEMA}.",
            next_step="Upgrade the data plane.",
        )
    if snapshot.release or snapshot.endpoints:
        _check_release(snapshot.release, snapshot.endpoints)
    for standby in snapshot.standbys:
        check_standby(standby)


def check_standby(standby: Standby) -> None:
    _check_release(standby.release, standby.endpoints)


def _check_release(release: str, endpoints: tuple[EndpointSpec, ...]) -> None:
    names = [spec.endpoint for spec in endpoints]
    if len(set(names)) != len(names):
        raise InvalidInput(f"The snapshot names an endpoint twice: {', '.join(sorted(names))}.")
    parse_digest(release)
    for spec in endpoints:
        _check_endpoint(spec)


def _check_endpoint(spec: EndpointSpec) -> None:
    if not spec.endpoint or "/" in spec.endpoint:
        raise InvalidInput(f"{spec.endpoint!r} cannot be the name of an endpoint.")
    parse_digest(spec.package_digest)
    columns = (*spec.signature.inputs, *spec.context)
    names = [column.name for column in columns]
    if not spec.signature.inputs or not spec.signature.outputs or len(set(names)) != len(names):
        raise InvalidInput(
            f"Endpoint {spec.endpoint!r} needs inputs and outputs, each name once; "
            f"it has {', '.join(names) or 'none'}."
        )
    for column in (*columns, *spec.signature.outputs):
        if column.datatype not in DATATYPES:
            raise InvalidInput(
                f"Endpoint {spec.endpoint!r}: column {column.name!r} has datatype "
                f"{column.datatype!r}.",
                next_step=f"Use one of {', '.join(sorted(DATATYPES))}.",
            )
    times = [column.datatype for column in columns if column.name == spec.event_time]
    if spec.event_time is not None and times != [TEXT]:
        raise InvalidInput(
            f"Endpoint {spec.endpoint!r}: its event time {spec.event_time!r} must be an input or "
            "context column of datatype BYTES (ISO 8601 text)."
        )
    prepare_rules(spec.rules, spec.expressions)
    if spec.family is not None:
        check_family(spec.endpoint, spec.family, spec.signature.inputs)
    _check_hidden(spec, names)


def _check_hidden(spec: EndpointSpec, names: list[str]) -> None:
    for told, hidden in (("private", spec.private), ("unlogged", spec.unlogged)):
        unknown = sorted(set(hidden) - set(names))
        if unknown:
            raise InvalidInput(
                f"Endpoint {spec.endpoint!r}: no {told} column {', '.join(unknown)}.",
                next_step=nearest(unknown[0], names),
            )
    both = sorted(set(spec.private) & set(spec.unlogged))
    if both:
        raise InvalidInput(
            f"Endpoint {spec.endpoint!r}: {', '.join(both)} cannot be both private (hashed) and "
            "unlogged.",
            next_step="Name each in one of the two.",
        )
    if spec.event_time in spec.unlogged:
        raise InvalidInput(
            f"Endpoint {spec.endpoint!r}: its event time {spec.event_time!r} cannot be unlogged: "
            "windows and days of the log go by it.",
            next_step="Leave event_time out, and the time of arrival counts.",
        )
