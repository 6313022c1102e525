"""Package indexes: one per environment, each a list of pointers at wheels by digest.

Wheels are published into dataops only; a promotion copies the pointers onward. A name belongs
to the team that published it first, a model's name to the project that declares it; a published
version never changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from packaging.utils import canonicalize_name, canonicalize_version, parse_wheel_filename
from sqlalchemy import Connection, func, insert, select

from seamline.domain.clock import Clock, iso
from seamline.domain.digests import digest_of, short
from seamline.domain.errors import Conflict, Forbidden, InvalidInput, Refused, not_found
from seamline.domain.facts import PackagePublished
from seamline.register.owners import MODEL, UPLOADED, claim_package, nobody_else
from seamline.register.packages.wheel_check import WheelInfo, check_wheel
from seamline.register.rows import PACKAGE_FILES, PACKAGE_NAMES, PACKAGE_YANKS
from seamline.register.statements import state_package
from seamline.store.received import ReceivedFile
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.store.verified import VerifiedFile
from seamline.trust.roles import Principal

#: The one environment that packages are published into.
PUBLISHING = "dataops"
#: What the platform itself publishes: no publisher's name, and never looked up upstream.
RESERVED = frozenset({"seamline-loader"})


#: A name → the project that declares a model called so, asked in the transaction that publishes.
DeclaredBy = Callable[[Connection, str], str | None]


def nobody_declares(_connection: Connection, _name: str) -> str | None:
    return None


@dataclass(frozen=True)
class PackageFile:
    environment: str
    filename: str
    name: str
    version: str
    digest: str
    size_bytes: int
    requires_python: str | None
    metadata_digest: str
    uploaded_by: str
    uploaded_at: str


def publish_package(
    stores: Stores,
    filename: str,
    data: bytes | ReceivedFile,
    *,
    by: str,
    who: Principal | None = None,
    announced: tuple[str, str] = ("", ""),
    declared_by: DeclaredBy = nobody_declares,
) -> PackageFile:
    """Check the wheel and enter it into dataops' index; the same bytes again change nothing.

    `announced`: the name and version that the sender stated, where it did. `who`: whoever `by` is,
    with their teams; without, they own what they published themselves.
    `declared_by`: whose a name is before its model has a first version.
    Raises InvalidInput (unsound wheel), Forbidden (the name is another's), Refused (it is a
    model's), Conflict (that version holds other bytes).
    """
    info = _check(filename, data)
    _check_announced(info, *announced)
    entry = _entry(stores.clock, info, _content(data), by)
    with stores.db.transaction() as tx:
        _take_turn(tx)
        _check_undeclared(tx, info.name, declared_by)
        _claim_name(stores, tx, info.name, UPLOADED, who or nobody_else(by))
        file = enter_package(stores, tx, entry)
        state_package(stores, tx, file.filename, file.digest, (file.name, file.version), by=by)
        # Now that nothing refuses it, and before anybody can see it.
        _keep(stores, info, data)
        return file


def _check(filename: str, data: bytes | ReceivedFile) -> WheelInfo:
    return check_wheel(filename, data.path if isinstance(data, ReceivedFile) else data)


def _content(data: bytes | ReceivedFile) -> tuple[str, int]:
    if isinstance(data, ReceivedFile):
        return data.digest, data.size_bytes
    return digest_of(data), len(data)


def _keep(stores: Stores, info: WheelInfo, data: bytes | ReceivedFile) -> None:
    stores.blobs.put(info.metadata)
    if isinstance(data, ReceivedFile):
        stores.blobs.adopt(data)
    else:
        stores.blobs.put(data)


def _take_turn(tx: Connection) -> None:
    """One after the other: of two that publish a name or a version in the same instant, the second
    looks when the first is done. Each appends to the chain of facts and would wait there anyway.
    """
    tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()


def model_package_file(
    stores: Stores, filename: str, data: bytes | ReceivedFile, by: str
) -> PackageFile:
    """A checked model wheel, its bytes stored, not yet in an index."""
    info = _check(filename, data)
    _keep(stores, info, data)
    return _entry(stores.clock, info, _content(data), by)


def enter_model_package(
    stores: Stores, tx: Connection, entry: PackageFile, *, caused_by: str | None
) -> PackageFile:
    """In the transaction that registers the model version."""
    _take_turn(tx)
    _claim_name(stores, tx, entry.name, MODEL, nobody_else(entry.uploaded_by))
    return enter_package(stores, tx, entry, caused_by=caused_by)


def enter_package(
    stores: Stores, tx: Connection, entry: PackageFile, *, caused_by: str | None = None
) -> PackageFile:
    """The row and its fact, or the row that is there already with the same bytes."""
    for file in _files_of_version(tx, entry.environment, entry.name, entry.version):
        if file.filename == entry.filename and file.digest == entry.digest:
            return file
        if _tags(file.filename) & _tags(entry.filename):
            raise Conflict(
                f"{entry.name} {entry.version} is published with other bytes: {file.filename} "
                f"is {short(file.digest)}, this {entry.filename} is {short(entry.digest)}.",
                next_step="A published version never changes: give this one a new version.",
            )
    tx.execute(insert(PACKAGE_FILES).values(**entry.__dict__))
    fact = PackagePublished(entry.name, entry.version, entry.filename, entry.digest)
    stores.facts.append(tx, fact, by=entry.uploaded_by, caused_by=caused_by)
    return entry


def admit(
    tx: Connection, clock: Clock, environment: str, name: str, version: str, *, by: str
) -> list[PackageFile]:
    """Copy dataops' pointers of one version into another index; the bytes stay where they are.

    Part of applying a promotion, whose fact tells of it; doing it again changes nothing.
    """
    wanted = canonicalize_name(name)
    published = _files(tx, PUBLISHING, wanted)
    files = [file for file in published if file.version == version]
    if not files:
        known = [file.version for file in published]
        raise not_found(f"version of {wanted} in {PUBLISHING}", version, known)
    held = {file.filename: file for file in _files(tx, environment, wanted, version)}
    entered, at = [], iso(clock.now())
    for file in files:
        copy = replace(file, environment=environment, uploaded_by=by, uploaded_at=at)
        if file.filename not in held:
            tx.execute(insert(PACKAGE_FILES).values(**copy.__dict__))
        entered.append(held.get(file.filename, copy))
    return entered


def list_package_names(stores: Stores, environment: str) -> list[str]:
    with stores.db.read() as connection:
        names = connection.execute(
            select(PACKAGE_FILES.c.name)
            .where(PACKAGE_FILES.c.environment == environment)
            .distinct()
            .order_by(PACKAGE_FILES.c.name)
        ).scalars()
        return list(names)


def list_package_files(stores: Stores, environment: str, name: str) -> list[PackageFile]:
    """This environment's files of the name, oldest first; empty when it has none."""
    with stores.db.read() as connection:
        return _files(connection, environment, canonicalize_name(name))


def index_state(stores: Stores, environment: str, name: str | None = None) -> tuple[int, ...]:
    """Another one after each change of the list of names, or of one name's files.

    Files are only ever added, and each change of a yank counts up its row.
    """
    files = select(func.count()).where(PACKAGE_FILES.c.environment == environment)
    if name is None:
        with stores.db.read() as connection:
            return (connection.execute(files).scalar_one(),)
    files = files.where(PACKAGE_FILES.c.name == name)
    changes = select(func.coalesce(func.sum(PACKAGE_YANKS.c.changes), 0))
    changes = changes.where(PACKAGE_YANKS.c.name == name)
    query = select(files.scalar_subquery(), changes.scalar_subquery())
    with stores.db.read() as connection:
        counted, changed = connection.execute(query).one()
        return int(counted), int(changed)


def find_package_file(stores: Stores, environment: str, filename: str) -> PackageFile:
    with stores.db.read() as connection:
        row = connection.execute(
            select(PACKAGE_FILES).where(
                PACKAGE_FILES.c.environment == environment, PACKAGE_FILES.c.filename == filename
            )
        ).one_or_none()
    if row is None:
        raise not_found(f"file in {environment}'s index", filename)
    return _file(row)


def is_ours(stores: Stores, *names: str) -> bool:
    """Was one of these names ever published here, anywhere? Then it is never looked up upstream."""
    if not names:
        return False
    if RESERVED & {canonicalize_name(name) for name in names}:
        return True
    wanted = PACKAGE_NAMES.c.name.in_([canonicalize_name(name) for name in names])
    with stores.db.read() as connection:
        found = connection.execute(select(PACKAGE_NAMES.c.name).where(wanted).limit(1)).first()
    return found is not None


def read_package_file(stores: Stores, file: PackageFile) -> bytes:
    """The very bytes that were published, verified."""
    return stores.blobs.get(file.digest, file.filename)


def open_package_file(stores: Stores, file: PackageFile) -> VerifiedFile:
    """The same, to be sent in pieces; close it."""
    return stores.blobs.open_verified(file.digest, file.filename)


def read_package_metadata(stores: Stores, file: PackageFile) -> bytes:
    return stores.blobs.get(file.metadata_digest, f"{file.filename}.metadata")


def _claim_name(stores: Stores, tx: Connection, name: str, kind: str, who: Principal) -> None:
    if name in RESERVED:
        raise Refused(
            f"{name} is a package of Seamline's own: nobody else publishes under that name.",
            next_step="Choose another name.",
        )
    row = tx.execute(select(PACKAGE_NAMES).where(PACKAGE_NAMES.c.name == name)).one_or_none()
    if row is not None and row.kind != kind:
        if kind == UPLOADED:
            raise Refused(
                f"{name} is a model's name: its versions come from runs, not from uploads.",
                next_step="Publish this package under another name.",
            )
        raise Conflict(
            f"{row.owner} published a package named {name} at {row.published_at}; "
            "a model cannot take its name.",
            next_step="Rename the model in seamline.toml.",
        )
    if kind == UPLOADED:
        claim_package(stores, tx, name, who)
    elif row is None:
        at = iso(stores.clock.now())
        values = {"name": name, "kind": kind, "owner": who.name, "published_at": at}
        tx.execute(insert(PACKAGE_NAMES).values(**values))


def _check_undeclared(tx: Connection, name: str, declared_by: DeclaredBy) -> None:
    """What was published before somebody declared it stays its publisher's."""
    known = select(PACKAGE_NAMES.c.name).where(PACKAGE_NAMES.c.name == name)
    if tx.execute(known).first() is not None:
        return
    project = declared_by(tx, name)
    if project is not None:
        raise Forbidden(
            f"{name} is a model of the project {project}: its versions come from that project's "
            "runs, not from uploads.",
            next_step="Publish this package under another name.",
        )


def _check_announced(info: WheelInfo, name: str, version: str) -> None:
    is_other = bool(name) and canonicalize_name(name) != info.name
    if version:
        is_other |= canonicalize_version(version) != canonicalize_version(info.version)
    if is_other:
        raise InvalidInput(
            f"{info.filename} was announced as {name} {version}; it holds {info.name} "
            f"{info.version}."
        )


def _entry(clock: Clock, info: WheelInfo, content: tuple[str, int], by: str) -> PackageFile:
    digest, size_bytes = content
    return PackageFile(
        environment=PUBLISHING,
        filename=info.filename,
        name=info.name,
        version=info.version,
        digest=digest,
        size_bytes=size_bytes,
        requires_python=info.requires_python,
        metadata_digest=digest_of(info.metadata),
        uploaded_by=by,
        uploaded_at=iso(clock.now()),
    )


def _files(
    connection: Connection, environment: str, name: str, version: str | None = None
) -> list[PackageFile]:
    query = select(PACKAGE_FILES).where(
        PACKAGE_FILES.c.environment == environment, PACKAGE_FILES.c.name == name
    )
    if version is not None:
        query = query.where(PACKAGE_FILES.c.version == version)
    ordered = query.order_by(PACKAGE_FILES.c.uploaded_at, PACKAGE_FILES.c.filename)
    return [_file(row) for row in connection.execute(ordered)]


def _files_of_version(
    connection: Connection, environment: str, name: str, version: str
) -> list[PackageFile]:
    """However the version is spelt: installers take 1.0 and 1.0.0 for the same."""
    versions = (
        select(PACKAGE_FILES.c.version)
        .where(PACKAGE_FILES.c.environment == environment, PACKAGE_FILES.c.name == name)
        .distinct()
    )
    wanted = canonicalize_version(version)
    return [
        file
        for spelt in connection.execute(versions).scalars().all()
        if canonicalize_version(spelt) == wanted
        for file in _files(connection, environment, name, spelt)
    ]


def _tags(filename: str) -> frozenset[Any]:
    return parse_wheel_filename(filename)[3]


def _file(row: Any) -> PackageFile:
    return PackageFile(**row._mapping)
