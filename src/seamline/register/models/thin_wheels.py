"""Thin wheels: the same version as a model's fat wheel, without its payload.

A thin wheel is what the fat one says about itself and the loader that it carries; only where the
payload's bytes come from differs: seamline-loader fetches them by the digest in model.json, from
wherever the machine that loads says. It is a function of the fat wheel alone, made once, and
never changes after.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import IO, Any

from sqlalchemy import Connection, insert, select

from seamline.domain.clock import new_id
from seamline.domain.errors import DigestMismatch, InvalidInput, not_found
from seamline.register.models.documents import payload_files
from seamline.register.packages.index import (
    PackageFile,
    find_package_file,
    list_package_files,
    model_package_file,
)
from seamline.register.packages.wheel_pack import pack_wheel
from seamline.register.rows import MODEL_VERSIONS, PACKAGE_FILES, THIN_WHEELS
from seamline.store.blobs import CHUNK_BYTES
from seamline.store.received import FileReceiver
from seamline.store.schema import CHAIN_HEAD
from seamline.store.stores import Stores
from seamline.trust.signing import find_statements

LOADER_REQUIREMENT = "seamline-loader<2,>=1.1"
#: What the loader inside a wheel has, when its payload can come from elsewhere.
_SEAM = b"read_payload"
_INIT = '''"""The model {name} {version}: `load()` fetches its payload, verifies and opens it."""

import seamline_loader

from . import _loader
from ._loader import Model

__all__ = ["Model", "load", "load_twin"]
__version__ = "{version}"


def load() -> Model:
    """With SEAMLINE_ENDPOINT set: a model of the same methods, which predicts by API."""
    return seamline_loader.load_thin(__name__, _loader)


def load_twin() -> Model:
    """The same model as ONNX; needs only numpy and onnxruntime. LookupError where there is none."""
    return seamline_loader.load_thin_twin(__name__, _loader)
'''


def build_thin_wheel(fat: IO[bytes]) -> bytes | None:
    """None where the loader inside cannot take a payload from elsewhere (wheels that earlier
    versions of Seamline made). Reads no byte of the payload."""
    with zipfile.ZipFile(fat) as archive:
        names = archive.namelist()
        documents = [name for name in names if name.endswith("/model.json")]
        if len(documents) != 1:
            raise InvalidInput(f"A model wheel holds one model.json; this one {len(documents)}.")
        document = json.loads(archive.read(documents[0]))
        module = document["module"]
        info = f"{module}-{document['version']}.dist-info"
        left_out = (f"{module}/payload/", f"{module}/samples.json", f"{info}/RECORD")
        files = {name: archive.read(name) for name in names if not name.startswith(left_out)}
    if not _takes_payload(files, module):
        return None
    files[f"{module}/__init__.py"] = _INIT.format(**document).encode()
    files[f"{info}/METADATA"] = _with_requirement(files[f"{info}/METADATA"])
    # Made once and kept, so it does not matter that another zlib would make other bytes of it.
    return pack_wheel(files, info, zipfile.ZIP_DEFLATED)


def _takes_payload(files: Mapping[str, bytes], module: str) -> bool:
    """Loaders were one file before they were a folder."""
    for path in ("_loader/opening.py", "_loader.py"):
        if f"{module}/{path}" in files:
            return _SEAM in files[f"{module}/{path}"]
    return False


def _with_requirement(metadata: bytes) -> bytes:
    """
    >>> _with_requirement(b"Name: x\\n\\nWhat it is.\\n").decode().splitlines()
    ['Name: x', 'Requires-Dist: seamline-loader<2,>=1.1', '', 'What it is.']
    """
    headers, blank, body = metadata.partition(b"\n\n")
    return headers + f"\nRequires-Dist: {LOADER_REQUIREMENT}".encode() + blank + body


def make_thin_wheel(stores: Stores, fat: IO[bytes], entry: PackageFile) -> PackageFile | None:
    """The thin twin of `entry`, its bytes stored, not yet entered. None: it has none."""
    built = build_thin_wheel(fat)
    if built is None:
        return None
    return model_package_file(stores, entry.filename, built, entry.uploaded_by)


def enter_thin_wheel(tx: Connection, fat: PackageFile, thin: PackageFile | None) -> None:
    """Again changes nothing. No fact of its own: that of the fat wheel tells of the version."""
    # One after the other: of two that enter it in the same instant, the second finds it.
    tx.execute(select(CHAIN_HEAD.c.chain_seq).with_for_update()).one()
    is_there = select(THIN_WHEELS.c.digest).where(THIN_WHEELS.c.wheel_digest == fat.digest)
    if thin is None or tx.execute(is_there).first() is not None:
        return
    values = {
        "wheel_digest": fat.digest,
        "digest": thin.digest,
        "size_bytes": thin.size_bytes,
        "metadata_digest": thin.metadata_digest,
    }
    tx.execute(insert(THIN_WHEELS).values(**values))


def list_thin_wheels(stores: Stores, environment: str, name: str) -> list[PackageFile]:
    """Thin twins of the model versions that this environment's index has, oldest first.

    Makes those that are missing: of versions that were registered before there were thin wheels.
    """
    fat = list_package_files(stores, environment, name)
    models, thin = _thin_of(stores, name)
    missing = [file for file in fat if file.digest in models and file.digest not in thin]
    for file in missing:
        _make_from_store(stores, file)
    if missing:
        _, thin = _thin_of(stores, name)
    return [replace(file, **thin[file.digest]) for file in fat if file.digest in thin]


def find_thin_wheel(stores: Stores, environment: str, filename: str) -> PackageFile:
    """NotFound where the environment does not have that version, or it has no thin wheel."""
    fat = find_package_file(stores, environment, filename)
    thin = THIN_WHEELS.c
    query = select(thin.digest, thin.size_bytes, thin.metadata_digest)
    with stores.db.read() as connection:
        row = connection.execute(query.where(thin.wheel_digest == fat.digest)).one_or_none()
    if row is None:
        raise not_found(f"thin wheel in {environment}'s index", filename)
    return replace(fat, **row._mapping)


def is_model(stores: Stores, name: str) -> bool:
    query = select(MODEL_VERSIONS.c.version).where(MODEL_VERSIONS.c.model == name).limit(1)
    with stores.db.read() as connection:
        return connection.execute(query).first() is not None


def find_payload(stores: Stores, environment: str, digest: str) -> int:
    """Its size, when a model of this environment has it, or its ONNX twin is it; NotFound
    otherwise. It is a blob then."""
    files, models = PACKAGE_FILES.c, MODEL_VERSIONS.c
    query = (
        select(models.wheel_digest, models.document)
        .join(PACKAGE_FILES, files.digest == models.wheel_digest)
        .where(files.environment == environment)
        .limit(1)
    )
    with stores.db.read() as connection:
        row = connection.execute(query.where(models.payload_digest == digest)).one_or_none()
        if row is None:  # a twin stands in the statement of its wheel
            said = [one.statement for one in find_statements(connection, digest)]
            row = connection.execute(query.where(models.statement_digest.in_(said))).one_or_none()
    document = json.loads(row.document) if row is not None else {}
    if row is None or digest not in payload_files(document).values():
        raise not_found(f"payload of a model in {environment}", digest)
    if not stores.blobs.holds(digest):
        _unpack_payload(stores, row.wheel_digest, document, digest)
    return stores.blobs.path_of(digest).stat().st_size


def _unpack_payload(
    stores: Stores, wheel_digest: str, document: Mapping[str, Any], digest: str
) -> None:
    """Out of the fat wheel into a blob of its own, hashed on the way, whatever its size."""
    incoming = stores.root / "incoming"
    incoming.mkdir(exist_ok=True)
    wheel = stores.blobs.path_of(wheel_digest)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith(f"{document['module']}/payload/"):
                continue
            receiver = FileReceiver(incoming / f"payload-{new_id(stores.clock)}")
            with archive.open(name) as entry:
                while piece := entry.read(CHUNK_BYTES):
                    receiver.write(piece)
            received = receiver.finish()
            if received.digest == digest:
                stores.blobs.adopt(received)
                return
            received.path.unlink()
    what = f"payload of {document['name']} {document['version']} in its wheel"
    raise DigestMismatch(what, expected=digest, actual="other bytes")


def _make_from_store(stores: Stores, fat: PackageFile) -> None:
    with stores.blobs.verified_path(fat.digest, fat.filename).open("rb") as file:
        thin = make_thin_wheel(stores, file, fat)
    with stores.db.transaction() as tx:
        enter_thin_wheel(tx, fat, thin)


def _thin_of(stores: Stores, name: str) -> tuple[set[str], dict[str, dict[str, Any]]]:
    """Wheel digests of the model's versions, and what differs in the thin twin of each."""
    thin, models = THIN_WHEELS.c, MODEL_VERSIONS.c
    query = (
        select(models.wheel_digest, thin.digest, thin.size_bytes, thin.metadata_digest)
        .outerjoin(THIN_WHEELS, thin.wheel_digest == models.wheel_digest)
        .where(models.model == name)
    )
    with stores.db.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    wheels = [row.pop("wheel_digest") for row in rows]
    made = {wheel: row for wheel, row in zip(wheels, rows, strict=True) if row["digest"]}
    return set(wheels), made
