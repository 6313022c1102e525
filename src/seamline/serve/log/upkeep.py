"""What becomes of old log rows: a day's small files become one, and what is past its time goes.

Control-plane side, beside `tables.py`. Done again it changes nothing; killed anywhere, each
table is as it was before or after one of its commits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from seamline.domain.clock import iso
from seamline.serve.log import feedback
from seamline.serve.log.tables import LOGS, PARTITION, log_table
from seamline.store.stores import Stores

_LOG = logging.getLogger("seamline.logs")
#: Whoever reads has this long to end, before the files of rows that went are removed.
READERS_H = 24
#: More files than this in a day are worth writing anew.
_MANY_FILES = 4


def keep_up_logs(stores: Stores, environment: str, keep_s: Mapping[str, float]) -> None:
    """`keep_s`: endpoint → seconds after which its rows go, counted from their arrival.

    Feedback that names no endpoint goes once it is older than the longest of these; an endpoint
    that is not named keeps its rows for good.
    """
    for log in LOGS:
        table = log_table(stores.root, log, environment)
        try:
            _forget(table, stores.clock.now(), keep_s, is_feedback=log == feedback.FOLDER)
            _merge_days(table, stores.clock.now())
        except TableNotFoundError:
            continue
        except CommitFailedError as error:  # somebody was writing: the next hour will do
            _LOG.info("%s is kept up later: %s", table, error)


def _forget(table: Path, now: datetime, keep_s: Mapping[str, float], *, is_feedback: bool) -> None:
    old = [_old(f"endpoint = {_quoted(one)}", now, seconds) for one, seconds in keep_s.items()]
    if is_feedback and keep_s:
        old.append(_old("endpoint IS NULL", now, max(keep_s.values())))
    if not old:
        return
    delta = DeltaTable(str(table))
    deleted = delta.delete(" OR ".join(old))["num_deleted_rows"]
    if deleted:
        _LOG.info("%s: %d rows are past their time", table, deleted)
    delta.vacuum(READERS_H, dry_run=False, enforce_retention_duration=False)


def _old(which: str, now: datetime, keep_s: float) -> str:
    return f"({which} AND at < '{iso(now - timedelta(seconds=keep_s))}')"


def _quoted(name: str) -> str:
    """
    >>> _quoted("late'arrival")
    "'late''arrival'"
    """
    return "'" + name.replace("'", "''") + "'"


def _merge_days(table: Path, now: datetime) -> None:
    """Those that are over: today's still grow."""
    delta = DeltaTable(str(table))
    days = delta.get_add_actions(flatten=True).column(f"partition.{PARTITION}").to_pylist()
    for day in sorted({str(one) for one in days if one is not None}):
        if day < now.date().isoformat() and sum(str(one) == day for one in days) > _MANY_FILES:
            delta.optimize.compact(partition_filters=[(PARTITION, "=", day)])
