"""Model versions: a wheel by digest, what it was made from, and a signed statement about both."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import IO, Any

from packaging.version import Version
from sqlalchemy import Connection, insert, select

from seamline.domain.clock import iso
from seamline.domain.digests import short
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    not_found,
)
from seamline.domain.facts import ModelRefused, ModelVersionRegistered
from seamline.register.formats.code_rules import MAX_CODE_BYTES
from seamline.register.formats.kinds import PICKLED, ModelFormat, read_format
from seamline.register.formats.scan import check_admitted, check_described
from seamline.register.formats.torch_state import check_state_described
from seamline.register.models.documents import (
    check_model_document,
    check_version,
    code_folder,
    family_of,
    payload_files,
    payload_path,
)
from seamline.register.models.thin_wheels import enter_thin_wheel, make_thin_wheel
from seamline.register.packages.index import (
    PUBLISHING,
    PackageFile,
    enter_model_package,
    model_package_file,
)
from seamline.register.packages.wheel_pack import wheel_name
from seamline.register.rows import MODEL_VERSIONS
from seamline.register.statements import MODEL, describe_model
from seamline.store.blobs import CHUNK_BYTES
from seamline.store.canonical import digest_of_json
from seamline.store.facts import read_facts
from seamline.store.received import ReceivedFile
from seamline.store.stores import Stores
from seamline.trust.keys import PublicKey, SigningKey
from seamline.trust.signing import check_signed, record_statement
from seamline.trust.statements import STATEMENT_TYPE, make_statement, sign_envelope

#: Who refuses what a run made.
SYSTEM = "seamline"
_PLACE = "{n}"
#: Values in one statement.
_PORTION = 500


@dataclass(frozen=True)
class ModelVersion:
    """`document` is model.json; `dataset_versions` are spelt name@version."""

    model: str
    version: str
    filename: str
    wheel_digest: str
    payload_digest: str
    statement_digest: str
    run_id: str
    #: What seamline.toml declares: the model itself, or what has one model per scenario.
    family: str
    document: dict[str, Any]
    dataset_versions: tuple[str, ...]
    registered_by: str
    registered_at: str

    @property
    def module(self) -> str:
        return str(self.document["module"])

    @property
    def scenario(self) -> dict[str, Any]:
        """What tells it from the other models of its family; empty when it is the only one."""
        return dict(self.document.get("scenario", {}))

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "dataset_versions": list(self.dataset_versions)}


def register_model_version(
    stores: Stores,
    wheel: bytes | ReceivedFile,
    *,
    key: SigningKey,
    by: str,
    caused_by: str | None = None,
    admitted: Collection[str] = (),
) -> ModelVersion:
    """Everything recorded is read from the wheel itself: what it says is what is signed.

    `admitted`: formats that run code and that dataops' policy lists; others are Refused.

    The wheel enters dataops' index; a file is taken away from where it lies, and never whole in
    memory. The same bytes again change nothing; others of that name and version are a Conflict.
    """
    with _opened(wheel) as file:
        document, payload_digest = read_model_wheel(file)
        name, version = document["name"], document["version"]
        check_admitted(read_format(document["format"]), admitted, PUBLISHING, f"{name} {version}")
        # The file stays open, wherever it is moved to: the thin wheel is of what was checked.
        entry = model_package_file(stores, wheel_name(name, version), wheel, by)
        thin = make_thin_wheel(stores, file, entry)
    subjects = _subjects(document, entry, thin)
    statement = make_statement(subjects, describe_model(document))
    envelope = sign_envelope(STATEMENT_TYPE, statement, key)
    used = document["lineage"]["dataset_versions"]
    registered = ModelVersion(
        model=name,
        version=version,
        filename=entry.filename,
        wheel_digest=entry.digest,
        payload_digest=payload_digest,
        statement_digest=stores.blobs.put(envelope),
        run_id=document["lineage"]["run_id"],
        family=family_of(document),
        document=document,
        dataset_versions=tuple(f"{one['name']}@{one['version']}" for one in used),
        registered_by=by,
        registered_at=iso(stores.clock.now()),
    )
    with stores.db.transaction() as tx:
        held = _find(tx, name, version)
        if held is not None:
            return _same(held, registered)
        enter_model_package(stores, tx, entry, caused_by=caused_by)
        enter_thin_wheel(tx, entry, thin)
        record_statement(stores, tx, MODEL, subjects, envelope, key)
        _insert(stores, tx, registered, caused_by)
    return registered


def _opened(wheel: bytes | ReceivedFile) -> IO[bytes]:
    return wheel.path.open("rb") if isinstance(wheel, ReceivedFile) else io.BytesIO(wheel)


def _same(held: ModelVersion, again: ModelVersion) -> ModelVersion:
    if held.wheel_digest == again.wheel_digest:
        return held
    raise Conflict(
        f"{held.model} {held.version} is registered with other bytes: {short(held.wheel_digest)} "
        f"of run {held.run_id}, not {short(again.wheel_digest)} of run {again.run_id}.",
        next_step="A registered version never changes: register the next one.",
    )


def next_version(stores: Stores, model: str, rule: str = "1.0.{n}") -> str:
    """The rule's next version: n counts from 0, one past the highest that is registered."""
    if rule.count(_PLACE) != 1:
        raise InvalidInput(
            f"The version rule {rule!r} must hold {{n}} once.", next_step="For example 1.0.{n}."
        )
    check_version(rule.replace(_PLACE, "0"))
    before, after = rule.split(_PLACE)
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    taken = [
        int(match.group(1))
        for found in list_model_versions(stores, model)
        if (match := pattern.fullmatch(found.version))
    ]
    return rule.replace(_PLACE, str(max(taken, default=-1) + 1))


def list_models(stores: Stores) -> list[str]:
    with stores.db.read() as connection:
        names = select(MODEL_VERSIONS.c.model).distinct().order_by(MODEL_VERSIONS.c.model)
        return list(connection.execute(names).scalars())


def list_model_versions(
    stores: Stores,
    model: str | None = None,
    *,
    family: str | None = None,
    run_id: str | None = None,
) -> list[ModelVersion]:
    """Newest first (by version), model by model; empty when there is none."""
    table = MODEL_VERSIONS.c
    query = select(MODEL_VERSIONS)
    for column, wanted in ((table.model, model), (table.family, family), (table.run_id, run_id)):
        if wanted is not None:
            query = query.where(column == wanted)
    with stores.db.read() as connection:
        found = [_model_version(row) for row in connection.execute(query)]
    found.sort(key=lambda one: Version(one.version), reverse=True)
    return sorted(found, key=lambda one: one.model)


def newest_version(stores: Stores, model: str) -> ModelVersion | None:
    return next(iter(list_model_versions(stores, model)), None)


def find_version_of_run(stores: Stores, model: str, run_id: str) -> ModelVersion | None:
    """The version that this run's output became; what it was refused for is a fact only.

    The newest one, when a retry of the run has made the model anew.
    """
    return next(iter(list_model_versions(stores, model, run_id=run_id)), None)


def payloads_of_runs(stores: Stores, run_ids: Iterable[str]) -> set[tuple[str, str, str]]:
    """(run, model, payload digest) of all that these runs' outputs became."""
    table, found, wanted = MODEL_VERSIONS.c, set[tuple[str, str, str]](), sorted(set(run_ids))
    columns = select(table.run_id, table.model, table.payload_digest)
    with stores.db.read() as connection:
        for start in range(0, len(wanted), _PORTION):
            portion = wanted[start : start + _PORTION]
            rows = connection.execute(columns.where(table.run_id.in_(portion)))
            found |= {(row.run_id, row.model, row.payload_digest) for row in rows}
    return found


def refuse_model(
    stores: Stores, model: str, run_id: str, reason: str, *, caused_by: str | None = None
) -> None:
    """Recorded once per model and end of the run, by Seamline itself."""
    with stores.db.transaction() as tx:
        told = read_facts(tx, kinds=[ModelRefused.kind], subject=model)
        if not any((one.body["run_id"], one.caused_by) == (run_id, caused_by) for one in told):
            fact = ModelRefused(model, run_id, reason)
            stores.facts.append(tx, fact, by=SYSTEM, caused_by=caused_by)


def refused_since(stores: Stores, run_id: str, seq: int) -> set[str]:
    """Models of the run that were refused after the fact with this number."""
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=[ModelRefused.kind], after=seq)
    return {one.subject for one in told if one.body["run_id"] == run_id}


def list_refusals(stores: Stores, run_id: str, seq: int) -> dict[str, str]:
    """Model → why this run's output is no version of it, as it was told after the fact with this
    number, and last."""
    with stores.db.read() as connection:
        told = read_facts(connection, kinds=[ModelRefused.kind], after=seq)
    found = {one.subject: str(one.body["reason"]) for one in told if one.body["run_id"] == run_id}
    made = {one.model for one in list_model_versions(stores, run_id=run_id)}
    return {model: found[model] for model in sorted(found.keys() - made)}


def find_model_version(stores: Stores, model: str, version: str | None = None) -> ModelVersion:
    """`version` None: the newest. NotFound names the nearest model or version."""
    versions = list_model_versions(stores, model)
    if not versions:
        raise _no_model(stores, model)
    if version is None:
        return versions[0]
    for found in versions:
        if found.version == version:
            return found
    raise not_found(f"version of {model}", version, [found.version for found in versions])


def _no_model(stores: Stores, name: str) -> NotFound:
    members = len({one.model for one in list_model_versions(stores, family=name)})
    if not members:
        return not_found("model", name, list_models(stores))
    return NotFound(
        f"{name} is no model by itself: it has one per scenario, {members} so far.",
        next_step=f"List them: seamline model list --of {name}.",
    )


def find_by_wheel(stores: Stores, wheel_digest: str) -> ModelVersion | None:
    with stores.db.read() as connection:
        row = connection.execute(
            select(MODEL_VERSIONS).where(MODEL_VERSIONS.c.wheel_digest == wheel_digest)
        ).one_or_none()
    return None if row is None else _model_version(row)


def verify_model_version(
    stores: Stores, model: str, version: str, public_key: PublicKey
) -> ModelVersion:
    """Wheel, payload inside it, model.json and signed statement say the same; else it raises."""
    found = find_model_version(stores, model, version)
    what = f"{model} {version}"
    with (
        closing(stores.blobs.open_verified(found.wheel_digest, f"wheel of {what}")) as wheel,
        wheel.reading() as file,
    ):
        document, payload_digest = read_model_wheel(file)
    _check_same(f"payload of {what}", found.payload_digest, payload_digest)
    recorded, packaged = digest_of_json(found.document), digest_of_json(document)
    _check_same(f"model.json of {what}", recorded, packaged)
    check_signed(stores, found.statement_digest, found.wheel_digest, what, public_key)
    return found


def read_model_wheel(wheel: IO[bytes]) -> tuple[dict[str, Any], str]:
    """model.json, checked, and the digest of the payload that is really inside.

    However large the payload is, no more than a piece of it is in memory at a time; of a pickle
    one array may be.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith("/model.json")]
            if len(names) != 1:
                raise InvalidInput(f"A model wheel holds one model.json; this one {len(names)}.")
            document: dict[str, Any] = json.loads(archive.read(names[0]))
            check_model_document(document)
            _check_payload(archive, document)
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise InvalidInput(f"This is no model wheel: {error}.") from error
    return document, document["payload_digest"]


def _check_payload(archive: zipfile.ZipFile, document: Mapping[str, Any]) -> None:
    what = f"payload of {document['name']} {document['version']}"
    for path, digest in payload_files(document).items():
        hasher = hashlib.sha256()
        with archive.open(path) as file:
            while piece := file.read(CHUNK_BYTES):
                hasher.update(piece)
        _check_same(what, digest, f"sha256:{hasher.hexdigest()}")
    form = read_format(document["format"])
    if form in PICKLED:
        with archive.open(payload_path(document)) as file:
            check_described(document, file)
    elif form is ModelFormat.TORCH_STATE:
        size_bytes = archive.getinfo(payload_path(document)).file_size
        with archive.open(payload_path(document)) as file:
            check_state_described(document, file, size_bytes, _read_code(archive, document))


def _read_code(archive: zipfile.ZipFile, document: Mapping[str, Any]) -> dict[str, bytes]:
    """All that lies where the loader looks for source, whether model.json names it or not."""
    folder = code_folder(document)
    found = [one for one in archive.infolist() if one.filename.startswith(folder)]
    size_bytes = sum(one.file_size for one in found)
    if size_bytes > MAX_CODE_BYTES:
        raise InvalidInput(f"The model's code is {size_bytes:,} bytes long, which is too much.")
    return {one.filename.removeprefix(folder): archive.read(one) for one in found}


def _check_same(what: str, expected: str, actual: str) -> None:
    if expected != actual:
        raise DigestMismatch(what, expected=expected, actual=actual)


def _subjects(
    document: Mapping[str, Any], entry: PackageFile, thin: PackageFile | None
) -> dict[str, str]:
    more = {} if thin is None else {f"thin/{thin.filename}": thin.digest}
    payload = payload_path(document)
    # By the wheel's name: two versions may have the very same twin.
    twins = [digest for path, digest in payload_files(document).items() if path != payload]
    more |= {f"twin/{entry.filename}": digest for digest in twins}
    return {entry.filename: entry.digest, payload: document["payload_digest"], **more}


def _insert(stores: Stores, tx: Connection, found: ModelVersion, caused_by: str | None) -> None:
    values = {
        **found.__dict__,
        "document": json.dumps(found.document, sort_keys=True),
        "dataset_versions": json.dumps(found.dataset_versions),
    }
    tx.execute(insert(MODEL_VERSIONS).values(**values))
    fact = ModelVersionRegistered(
        found.model,
        found.version,
        found.wheel_digest,
        found.payload_digest,
        found.run_id,
        found.dataset_versions,
    )
    stores.facts.append(tx, fact, by=found.registered_by, caused_by=caused_by)


def _find(connection: Connection, model: str, version: str) -> ModelVersion | None:
    row = connection.execute(
        select(MODEL_VERSIONS).where(
            MODEL_VERSIONS.c.model == model, MODEL_VERSIONS.c.version == version
        )
    ).one_or_none()
    return None if row is None else _model_version(row)


def _model_version(row: Any) -> ModelVersion:
    values = dict(row._mapping)
    values["document"] = json.loads(values["document"])
    values["dataset_versions"] = tuple(json.loads(values["dataset_versions"]))
    return ModelVersion(**values)
