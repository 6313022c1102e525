"""Two dataset versions compared, with the runs and components that brought what differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from seamline.app.data.find_producer import find_producer
from seamline.app.platform import Platform
from seamline.data.diff.findings import Commit, Producer, with_producers
from seamline.data.diff.page import render_page
from seamline.data.diff.rows import RowDiff, compare_rows
from seamline.data.diff.stored import Compared, compare_stored
from seamline.data.versions import DatasetVersion, find_version


@dataclass(frozen=True)
class DatasetDiff:
    before: DatasetVersion
    after: DatasetVersion
    compared: Compared
    rows: RowDiff | None

    @property
    def differs(self) -> bool:
        """Two versions whose rows are the same may lie in different files."""
        if self.rows is not None and not self.compared.diff.findings:
            return self.rows.differs
        return self.compared.diff.differs

    def to_json(self) -> dict[str, Any]:
        return {
            **self.compared.diff.to_json(),
            "differs": self.differs,
            "versions": [self.before.to_json(), self.after.to_json()],
            "rows": None if self.rows is None else self.rows.to_json(),
        }


def diff_datasets(
    platform: Platform, before: str, after: str, *, with_rows: bool = False
) -> DatasetDiff:
    """`with_rows`: also row by row, by the keys that the dataset declares. InvalidInput where it
    declares none."""
    stores = platform.stores
    old, new = find_version(stores, before), find_version(stores, after)
    compared = compare_stored(stores, old, new)

    def find(commit: Commit) -> Producer | None:
        assert commit.run_id is not None
        return find_producer(platform, commit.run_id, commit.dataset)

    compared = replace(compared, diff=with_producers(compared.diff, find))
    rows = compare_rows(stores, old, new) if with_rows else None
    return DatasetDiff(old, new, compared, rows)


def diff_page(found: DatasetDiff) -> str:
    """The whole of it as one HTML file that needs nothing else."""
    return render_page(found.before, found.after, found.compared, found.rows)
