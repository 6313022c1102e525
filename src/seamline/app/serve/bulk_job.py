"""A batch prediction as it lies on disk: what is to be done, and what of it is done.

The unit is a portion: some files of the input. A portion is done when its result has its name.
Killed anywhere, the job goes on with the portion that it was at, under the same prediction ids: its
log segment has the same name, so the log holds its rows once, too.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from seamline.data.versions.version import VersionFile
from seamline.domain.clock import Clock, new_id
from seamline.domain.errors import Conflict, InvalidInput, NotFound, Refused
from seamline.serve.log.segments import SUFFIX
from seamline.store.blobs import write_atomically

#: Rows that go to the model at once; and at the least into one portion.
CHUNK_ROWS = 16_384
PORTION_ROWS = 65_536
_LOCK = "lock"


@dataclass(frozen=True)
class InputFile:
    """`ids`: of the predictions of its chunks."""

    file: VersionFile
    ids: tuple[str, ...]

    def chunks(self) -> Iterator[tuple[str, int, int]]:
        """(prediction id, first row, rows)."""
        for number, prediction_id in enumerate(self.ids):
            start = number * CHUNK_ROWS
            yield prediction_id, start, min(CHUNK_ROWS, self.file.rows - start)


@dataclass(frozen=True)
class Portion:
    number: int
    files: tuple[InputFile, ...]

    @property
    def rows(self) -> int:
        return sum(one.file.rows for one in self.files)


def plan_portions(files: Sequence[VersionFile], clock: Clock) -> list[Portion]:
    """Files one after another until they are enough rows together."""
    portions: list[Portion] = []
    gathered: list[InputFile] = []
    for file in files:
        chunks = -(-file.rows // CHUNK_ROWS)
        gathered.append(InputFile(file, tuple(new_id(clock) for _ in range(chunks))))
        if sum(one.file.rows for one in gathered) >= PORTION_ROWS:
            portions.append(Portion(len(portions), tuple(gathered)))
            gathered = []
    if gathered:
        portions.append(Portion(len(portions), tuple(gathered)))
    return portions


@dataclass(frozen=True)
class JobFolder:
    folder: Path

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Conflict where the same job is running."""
        with ExitStack() as held:
            try:
                held.enter_context(self._locked())
            except (BlockingIOError, FileNotFoundError):
                raise Conflict(
                    "The same rows are being predicted already.",
                    next_step="Wait for that, or ask again then: what is done is not done twice.",
                ) from None
            yield

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """FileNotFoundError: whoever had it has removed the folder in this moment."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / _LOCK
        with path.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(lock.fileno()).st_ino:
                raise FileNotFoundError
            yield

    def remove(self) -> None:
        """While `alone`. The lock is last: whoever asks in this moment finds it held, or gone with
        all the rest, or makes another one, which stays."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        (self.folder / _LOCK).unlink()
        with suppress(OSError):
            self.folder.rmdir()

    @contextmanager
    def given_up_unless_begun(self) -> Iterator[None]:
        """What is refused before the first answer leaves nothing behind; once there are answers,
        their ids are kept: whoever asks again has them logged once."""
        try:
            yield
        except (InvalidInput, NotFound, Refused, Conflict):
            if not any(self.folder.glob("part-*")):
                self.remove()
            raise

    @property
    def rows(self) -> Path:
        """Those that a query has found."""
        return self.folder / "rows"

    def plan(self, find_files: Callable[[], Sequence[VersionFile]], clock: Clock) -> list[Portion]:
        """As it was made when the job began."""
        path = self.folder / "plan.json"
        if not path.exists():
            told = [asdict(one) for one in plan_portions(find_files(), clock)]
            write_atomically(path, json.dumps(told).encode())
        return [
            Portion(
                one["number"],
                tuple(
                    InputFile(VersionFile(**each["file"]), tuple(each["ids"]))
                    for each in one["files"]
                ),
            )
            for one in json.loads(path.read_text())
        ]

    def result_of(self, portion: Portion) -> Path:
        return self.folder / f"part-{portion.number:05}.parquet"

    def finish(
        self, portion: Portion, result: pl.DataFrame, log: Path, batches: Sequence[pa.RecordBatch]
    ) -> None:
        """The log first: a portion that is done is logged."""
        log.mkdir(parents=True, exist_ok=True)
        name = portion.files[0].ids[0]
        partial = log / f".{name}.partial"
        with partial.open("wb") as file:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            with pa.ipc.new_stream(file, batches[0].schema, options=options) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(log / f"{name}{SUFFIX}")
        partial = self.folder / f".part-{portion.number:05}.partial"
        with partial.open("wb") as file:
            result.write_parquet(file, compression="lz4")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.result_of(portion))
