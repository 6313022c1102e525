"""Take in a delivery: check it against the dataset's contract, then make it a version.

All in batches: what a delivery needs in memory does not grow with its size.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

import polars as pl

from seamline.data.checking.batches import Checker
from seamline.data.checking.first import FirstLook
from seamline.data.checking.terms import Terms
from seamline.data.commit import (
    Origin,
    commit_version,
    put_basis,
    staging_folder,
    writing,
)
from seamline.data.contracts.declared import standing_contract, with_policy
from seamline.data.contracts.quarantine import Quarantine
from seamline.data.contracts.widening import is_wider, lossless, rewrite_files, stored_schema
from seamline.data.declaration import DAY, DatasetDeclaration, Mode, Partition
from seamline.data.outputs import delivery_key, is_overtaken, version_of_delivery
from seamline.data.recovery import finish_pending
from seamline.data.refusals import record_refusal
from seamline.data.sources.batches import Delivery
from seamline.data.sources.files import open_file
from seamline.data.versions import (
    DatasetVersion,
    find_dataset,
    read_frames,
    version_basis,
    version_profile,
    version_profiles_by_day,
    version_row,
)
from seamline.data.writing.days import DayFiles
from seamline.data.writing.parquet import WrittenFile
from seamline.domain.clock import iso, new_id
from seamline.domain.errors import Conflict, InvalidInput, Refused
from seamline.measure.basis import Basis, make_basis
from seamline.measure.casting import DType
from seamline.measure.contracts import Contract, Policy, Violation
from seamline.measure.contracts.deliveries import check_drift, check_freshness, check_row_count
from seamline.measure.profiles import Profile, sum_profiles
from seamline.store.full_disk import explaining_a_full_disk
from seamline.store.stores import Stores


class Stage(StrEnum):
    """What is done with a delivery, in this order; bytes are fetched, all else counts rows."""

    FETCHING = "fetching"
    #: The rows are made by a model that is live.
    PREDICTING = "predicting"
    READING = "reading"
    #: A first delivery makes the contract.
    CHECKING = "checking"
    WRITING = "writing"
    #: The older rows, in wider types.
    REWRITING = "rewriting"
    COMMITTING = "committing"


#: Told of each stage how much of it is done, and of how much (None: not known).
Progress = Callable[[Stage, int, int | None], None]


@dataclass(frozen=True)
class IngestResult:
    """`is_new` is False when the same delivery had been taken in before, or brought no rows."""

    version: DatasetVersion
    is_new: bool


@dataclass(frozen=True)
class Bringer:
    """Who brings a delivery, in which run, and by which fact."""

    by: str
    run_id: str | None = None
    caused_by: str | None = None


@dataclass(frozen=True)
class _Job:
    stores: Stores
    declaration: DatasetDeclaration
    delivery: Delivery
    bringer: Bringer
    #: For everything that is written before the commit.
    folder: Path
    tell: Progress
    now: datetime
    #: What a killed writer had committed, and only now became a version.
    finished: DatasetVersion | None


def ingest(
    stores: Stores,
    declaration: DatasetDeclaration,
    path: Path,
    *,
    source: str,
    by: str,
    run_id: str | None = None,
    caused_by: str | None = None,
    progress: Progress | None = None,
) -> IngestResult:
    """The version that the file at `path` makes; `source` says where it came from, to people.

    The first delivery makes the contract; later ones are held to it. Raises InvalidInput (cannot
    be read), Refused (breaks the contract: nothing but a fact is written), Conflict, or
    Unavailable (the disk is full). Whatever is raised, the dataset is as it was.
    """
    tell = progress or _tell_nobody
    bringer = Bringer(by, run_id, caused_by)
    with _writing(stores, declaration.name) as (folder, finished):
        tell(Stage.READING, 0, None)
        delivery = open_file(path, folder, name=source)
        now = stores.clock.now()
        return _take(_Job(stores, declaration, delivery, bringer, folder, tell, now, finished))


def take_in(
    stores: Stores,
    declaration: DatasetDeclaration,
    delivery: Delivery,
    bringer: Bringer,
    progress: Progress | None = None,
) -> IngestResult:
    """The same, for a delivery from any source. Also raises Conflict when it was read by steps and
    another has been taken in since: then it has to be read again."""
    tell = progress or _tell_nobody
    with _writing(stores, declaration.name) as (folder, finished):
        now = stores.clock.now()
        return _take(_Job(stores, declaration, delivery, bringer, folder, tell, now, finished))


def _tell_nobody(stage: Stage, done: int, total: int | None) -> None:
    return


@contextmanager
def _writing(stores: Stores, dataset: str) -> Iterator[tuple[Path, DatasetVersion | None]]:
    """A folder of one's own while nobody else writes to the dataset, and `finish_pending`'s."""
    with (
        writing(stores, dataset),
        explaining_a_full_disk(f"a delivery of dataset {dataset}"),
    ):
        finished = finish_pending(stores, dataset)
        staging = staging_folder(stores, dataset)
        folder = staging / new_id(stores.clock)
        folder.mkdir(parents=True)
        try:
            yield folder, finished
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _take(job: _Job) -> IngestResult:
    stores, declaration = job.stores, job.declaration
    with stores.db.read() as connection:
        newest = version_row(connection, declaration.name)
        dataset = find_dataset(connection, declaration.name)
        key = delivery_key(connection, declaration, job.delivery.digest, newest)
        before = version_of_delivery(
            connection, declaration.name, key, job.delivery.digest, job.bringer.run_id
        )
        inferred = None if dataset is None else dataset.contract
        contract = standing_contract(connection, declaration, inferred)
    if before is not None:
        return IngestResult(before, is_new=before == job.finished)
    overtaken = is_overtaken(declaration, job.bringer.run_id, newest)
    if overtaken is not None:
        raise _overtaken(job, overtaken)
    _check_follows(job.delivery, newest)
    if dataset is None or newest is None or contract is None:
        made = _first(job, contract)
        if made is None:
            raise _empty(job.delivery)
    else:
        _check_same_days(dataset.declaration, declaration)
        made = _next(job, contract, newest)
        if made is None:
            if job.delivery.follows is None:
                raise _empty(job.delivery)
            return IngestResult(newest, is_new=False)
    breaches = made.breaches + _check_whole(job, made, newest)
    job.tell(Stage.COMMITTING, made.rows, made.rows)
    origin = Origin(
        declaration=declaration,
        contract=made.contract,
        basis_digest=put_basis(stores, made.basis),
        delivery_digest=key,
        source=job.delivery.name,
        by=job.bringer.by,
        run_id=job.bringer.run_id,
        caused_by=job.bringer.caused_by,
        watermark=_reached(job, newest),
        schema=tuple((name, str(dtype)) for name, dtype in made.schema.items()),
        breaches=tuple(breaches),
        aside=made.quarantine.write(
            job.folder, delivery=key, source=job.delivery.name, at=iso(job.now)
        ),
        rewritten=_rewritten(job, made, newest),
    )
    version = commit_version(stores, origin, job.folder, made.files, made.profiles)
    return IngestResult(version, is_new=True)


@dataclass(frozen=True)
class _Made:
    """What lies in the staging folder, checked."""

    contract: Contract
    schema: Mapping[str, DType]
    basis: Basis
    files: list[WrittenFile]
    profiles: Mapping[str, Profile]
    #: What was broken, and does not keep the delivery out.
    breaches: list[Violation]
    quarantine: Quarantine
    newest_event: datetime | None
    rows_delivered: int

    @property
    def rows(self) -> int:
        return sum(one.file.rows for one in self.files)


class _TooNarrow(Exception):
    """The table has to have wider types before the delivery fits in."""

    def __init__(self, columns: Mapping[str, DType]) -> None:
        super().__init__(str(columns))
        self.columns = columns


def _first(job: _Job, declared: Contract | None) -> _Made | None:
    """A first delivery makes the contract, unless one is declared, from all of its values, and the
    basis, from a sample.

    A delivery that is its own sample is held in memory, and neither read nor parsed again.
    """
    look = FirstLook(job.declaration, parse=job.delivery.is_text)
    for frame in job.delivery.batches():
        look.add(frame)
        job.tell(Stage.CHECKING, look.rows, job.delivery.rows)
    if not look.rows:
        return None
    contract = declared or with_policy(look.contract(), job.declaration)
    sample, rows = look.sample, look.rows
    del look

    def make(checker: Checker) -> tuple[Basis, list[WrittenFile], Mapping[str, Profile]]:
        if not sample.is_whole:
            basis = make_basis(checker.typed(sample.frame()).drop(DAY))
            if declared is None:  # then all fits, and this is the only time
                sample.forget()
            checked = _checked(job, checker, job.delivery.batches, rows)
            return basis, *_write(job, basis, checked)
        typed = list(_checked(job, checker, sample.parts, rows))
        basis = make_basis(pl.concat(typed).drop(DAY))
        return basis, *_write(job, basis, typed)

    return _make(job, Terms(job.declaration, contract, job.now), make)


def _next(job: _Job, contract: Contract, newest: DatasetVersion) -> _Made | None:
    basis = version_basis(job.stores, newest)
    stored: Mapping[str, DType] = {}
    table = None
    if job.declaration.mode is Mode.APPEND:
        stored = stored_schema(contract, newest)
        if contract.unique_in_table:
            table = partial(read_frames, job.stores, newest, job.declaration.keys)
    elif {column.name for column in contract.columns} != set(basis.columns):
        return _first(job, contract)  # profiles of other columns need a basis of their own

    def make(checker: Checker) -> tuple[Basis, list[WrittenFile], Mapping[str, Profile]]:
        delivery = job.delivery
        checked = _checked(job, checker, delivery.batches, delivery.rows, table)
        return basis, *_write(job, basis, checked)

    made = _make(job, Terms(job.declaration, contract, job.now, stored), make)
    return made if made.rows_delivered else None


def _make(
    job: _Job,
    terms: Terms,
    make: Callable[[Checker], tuple[Basis, list[WrittenFile], Mapping[str, Profile]]],
) -> _Made:
    """Once; and once more in wider types, where the contract takes in what breaks its types."""
    checker = Checker(terms, job.folder)
    try:
        made = make(checker)
    except _TooNarrow as narrow:
        wider = lossless(job.stores, job.declaration.name, narrow.columns)
        terms = replace(terms, stored={**terms.schema, **wider})
        checker = Checker(terms, job.folder / "wider")
        (job.folder / "wider").mkdir()
        made = make(checker)
    return _Made(
        terms.contract,
        terms.schema,
        *made,
        breaches=checker.broken,
        quarantine=checker.quarantine,
        newest_event=checker.newest_event,
        rows_delivered=checker.rows,
    )


def _checked(
    job: _Job,
    checker: Checker,
    batches: Callable[[], Iterable[pl.DataFrame]],
    rows: int | None,
    table: Callable[[], Iterable[pl.DataFrame]] | None = None,
) -> Iterator[pl.DataFrame]:
    """The typed rows; raises Refused once it is known what all of the delivery breaks."""
    for frame in batches():
        typed = checker.check(frame)
        if typed is not None:
            yield typed
        job.tell(Stage.WRITING, checker.rows, rows)
    found = checker.violations(batches, table)
    is_all_aside = checker.rows and not checker.kept and not checker.widened
    if any(one.does is Policy.REFUSE for one in found) or is_all_aside:
        raise _refuse(job, found)
    if checker.widened:
        raise _TooNarrow(checker.widened)


def _write(
    job: _Job, basis: Basis, frames: Iterable[pl.DataFrame]
) -> tuple[list[WrittenFile], Mapping[str, Profile]]:
    in_days = job.delivery.in_days
    with DayFiles(job.folder, basis, new_id(job.stores.clock), in_days=in_days) as files:
        for frame in frames:
            files.add(frame)
        files.finish()
    return files.files, files.profiles


def _check_whole(job: _Job, made: _Made, newest: DatasetVersion | None) -> list[Violation]:
    """What the contract says of the delivery as a whole; raises Refused."""
    contract, stores = made.contract, job.stores
    before = None if newest is None else newest.rows_added + newest.rows_quarantined
    found = check_row_count(contract, made.rows_delivered, before)
    when = ", ".join(job.declaration.day_columns)
    found += check_freshness(contract, when, made.newest_event, job.now)
    is_watched = any(column.drift is not None for column in contract.columns)
    if newest is not None and is_watched and made.basis.digest == newest.basis_digest:
        profile = version_profile(stores, newest)
        days = version_profiles_by_day(stores, newest)
        delivered = sum_profiles(made.profiles.values())
        found += check_drift(contract, profile, list(days.values()), delivered, len(made.profiles))
    if any(one.does is Policy.REFUSE for one in found):
        raise _refuse(job, made.breaches + found)
    return found


def _rewritten(
    job: _Job, made: _Made, newest: DatasetVersion | None
) -> tuple[WrittenFile, ...] | None:
    """The rows that are there already in wider types, where they have to be."""
    if newest is None or job.declaration.mode is Mode.REPLACE:
        return None
    if not is_wider(made.schema, newest):
        return None
    job.tell(Stage.REWRITING, 0, newest.rows)
    name = new_id(job.stores.clock)
    return tuple(rewrite_files(job.stores, newest, made.schema, job.folder, name))


def _check_follows(delivery: Delivery, newest: DatasetVersion | None) -> None:
    if delivery.watermark is None and delivery.follows is None:
        return
    reached = None if newest is None else newest.watermark
    if delivery.follows != reached:
        raise Conflict(
            f"{delivery.name} was read from {delivery.follows!r} on; meanwhile another delivery "
            f"has brought it to {reached!r}.",
            next_step="Read the source again.",
        )


def _reached(job: _Job, newest: DatasetVersion | None) -> str | None:
    """How far the source has been read: a file that was sent by hand does not change that."""
    if job.delivery.watermark is not None or job.declaration.mode is Mode.REPLACE:
        return job.delivery.watermark
    return None if newest is None else newest.watermark


def _check_same_days(before: DatasetDeclaration, after: DatasetDeclaration) -> None:
    """A day means the same in all versions."""
    was, now = ((one.time, one.date, one.zone, one.lies_by) for one in (before, after))
    if was != now:
        raise Conflict(
            f"The days of dataset {after.name} are those of {_days_in_words(before)}; "
            f"it is now declared with {_days_in_words(after)}.",
            next_step="Declare it as before, or start a dataset of another name.",
        )


def _days_in_words(declaration: DatasetDeclaration) -> str:
    what = ", ".join(declaration.day_columns)
    if declaration.lies_by is Partition.INSERTION:
        what = f"insertion ({what})" if what else "insertion"
    return f"{what} in {declaration.zone}"


def _empty(delivery: Delivery) -> InvalidInput:
    return InvalidInput(f"{delivery.name} holds no rows.", next_step="Deliver at least one row.")


def _overtaken(job: _Job, why: str) -> Refused:
    name, source = job.declaration.name, job.delivery.name
    return Refused(
        f"{source} would replace the table of dataset {name} by an older one: refused. {why}",
        next_step="Run the pipeline again: a run that is requested now is newer.",
        dataset=name,
        source=source,
        fact_id=_say_refused(job, (why,)),
    )


def _refuse(job: _Job, violations: Sequence[Violation]) -> Refused:
    """The refusal, recorded as a fact."""
    sentences = tuple(violation.sentence() for violation in violations)
    name, source = job.declaration.name, job.delivery.name
    told = "\n".join(sentences)
    return Refused(
        f"{source} breaks the contract of dataset {name} and was refused:\n{told}",
        next_step="Correct the delivery and send it again; the dataset is as it was.",
        dataset=name,
        source=source,
        violations=[violation.to_json() for violation in violations],
        fact_id=_say_refused(job, sentences),
    )


def _say_refused(job: _Job, sentences: tuple[str, ...]) -> str:
    name, bringer = job.declaration.name, job.bringer
    return record_refusal(
        job.stores,
        name,
        job.delivery.name,
        sentences,
        by=bringer.by,
        caused_by=bringer.caused_by,
    )
