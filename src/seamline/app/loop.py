"""The background loop: takes outbox entries one by one and reacts to them."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from seamline.app.platform import Platform
from seamline.app.promote.advance_promotion import advance_waiting
from seamline.app.promote.follow_pipelines import follow_where_behind
from seamline.app.reactions import react
from seamline.app.serve.keep_logs import keep_logs
from seamline.domain.errors import SeamlineError, Unavailable
from seamline.domain.states import RunState
from seamline.serve.log.tables import compact
from seamline.serve.log.tables import list_environments as list_log_environments
from seamline.store.outbox import (
    claim_next,
    continue_later,
    finish,
    has_due,
    postpone,
    release_leases,
)
from seamline.train.attempts.volumes import sweep_workspaces
from seamline.train.runs import list_runs

TICK_S = 1.0
#: What a busy engine commits within this time is looked at together.
TOGETHER_S = 0.05
TURN_S = 1.0
COMPACT_S = 60.0
SWEEP_S = 3600.0
_GOING = (RunState.PENDING, RunState.RUNNING)
_LOG = logging.getLogger("seamline.loop")


class Loop:
    """One thread. Woken by commits; looks by itself once a second for what only time brings."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._compacted_at = self._swept_at = platform.stores.clock.now()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._busy = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="seamline-loop", daemon=True)
        platform.stores.db.on_commit(self._wake.set)
        platform.gate_work.on_end(self._wake.set)

    def start(self) -> None:
        """Whoever starts it holds the workspace: what is leased now, a dead process leased."""
        release_leases(self._platform.stores.db, self._platform.stores.clock)
        follow_where_behind(self._platform)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def is_idle(self) -> bool:
        """Nothing is due, nothing is being done, and no run and no gate is going."""
        stores = self._platform.stores
        if self._busy.locked() or has_due(stores.db, stores.clock):
            return False
        if self._platform.gate_work.is_busy():
            return False
        return not any(list_runs(stores, state=state, limit=1) for state in _GOING)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            for part in (
                self._react_to_all,
                self._advance_waiting,
                self._compact_logs,
                self._sweep_workspaces,
            ):
                try:
                    part()
                except Exception:
                    # The loop itself must survive whatever a database or a disk does.
                    _LOG.exception("the background loop met an unexpected error")
            if self._wake.wait(TICK_S):
                self._stopping.wait(TOGETHER_S)

    def _react_to_all(self) -> None:
        """What goes on for long lets the loop's other parts have their turn, too."""
        until = self._platform.stores.clock.now() + timedelta(seconds=TURN_S)
        while not self._stopping.is_set() and self.step():
            if self._platform.stores.clock.now() > until:
                self._wake.set()
                return

    def _advance_waiting(self) -> None:
        advance_waiting(self._platform)

    def _compact_logs(self) -> None:
        """Finished log segments become tables, about once a minute."""
        now = self._platform.stores.clock.now()
        if (now - self._compacted_at).total_seconds() < COMPACT_S:
            return
        self._compacted_at = now
        for environment in list_log_environments(self._platform.stores):
            compact(self._platform.stores, environment)

    def _sweep_workspaces(self) -> None:
        """What runs that ended long ago shared; a server lives for months."""
        now = self._platform.stores.clock.now()
        if (now - self._swept_at).total_seconds() >= SWEEP_S:
            self._swept_at = now
            sweep_workspaces(self._platform.stores)
            keep_logs(self._platform)

    def step(self) -> bool:
        """React to one entry; whether there was one."""
        stores = self._platform.stores
        with self._busy:
            entry = claim_next(stores.db, stores.clock)
            if entry is None:
                return False
            try:
                is_done = react(self._platform, entry.fact)
            except Unavailable as error:
                _LOG.info("%s %s: %s", entry.fact.kind, entry.fact.subject, error)
                postpone(stores.db, stores.clock, entry, str(error))
            except SeamlineError as error:
                _LOG.warning("%s %s: %s", entry.fact.kind, entry.fact.subject, error)
                postpone(stores.db, stores.clock, entry, str(error))
            except Exception as error:
                _LOG.exception("%s %s", entry.fact.kind, entry.fact.subject)
                postpone(stores.db, stores.clock, entry, repr(error))
            else:
                if is_done:
                    finish(stores.db, entry.fact.id)
                else:
                    continue_later(stores.db, stores.clock, entry.fact.id)
            return True
