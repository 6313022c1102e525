"""The scheduler: one thread that sleeps until a schedule is due, then requests its run.

A run's id follows from the schedule and the due time, and requesting the same run again is the
same run. So a process killed between the request and the note that the time is dealt with asks
once more after its restart, and neither loses a run nor makes two.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from seamline.domain.clock import iso
from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.store.stores import Stores
from seamline.train.schedule.due import Decision, decide_due
from seamline.train.schedule.rhythm import latest_until
from seamline.train.schedule.schedules import (
    Schedule,
    due_schedules,
    next_due_after,
    open_schedule,
    record_handled,
)
from seamline.train.views.listing import count_going, latest_scheduled

#: Also when nothing is due: the machine's clock may have been set, or it may have slept.
_LONGEST_SLEEP_S = 60.0
#: After trouble that may pass by itself.
_RETRY = timedelta(seconds=10)
_LOG = logging.getLogger("seamline.scheduler")

#: (schedule, due time, run id): requests the run; the same id again changes nothing.
Submit = Callable[[Schedule, datetime, str], None]


def run_id_of(schedule_id: str, due_at: datetime) -> str:
    """
    >>> from datetime import UTC
    >>> run_id_of("019b76da-a800-7000-8000-000000000000", datetime(2026, 11, 21, tzinfo=UTC))
    '09be8550-b74a-5027-9db9-4a3120d87f5b'
    """
    return str(uuid5(UUID(schedule_id), iso(due_at)))


class Scheduler:
    def __init__(self, stores: Stores, submit: Submit) -> None:
        self._stores = stores
        self._submit = submit
        #: Held while one due time is dealt with.
        self._dealing = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seamline-scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """Look now: a schedule is new or resumed, or a run has ended."""
        self._wake.set()

    def settle(self) -> None:
        """Once this returns, a schedule that was paused or deleted before requests no run."""
        with self._dealing:
            return

    def tick(self) -> datetime | None:
        """Deals with all that is due now; when to look again (None: when something changes)."""
        now = self._stores.clock.now()
        again = [next_due_after(self._stores, now)]
        for schedule in due_schedules(self._stores, now):
            if self._stopping.is_set():
                break
            try:
                again.append(self._advance(schedule, now))
            except Exception:
                # One schedule's trouble must not hold up the others.
                _LOG.exception("schedule %s (%s)", schedule.id, schedule.name)
                again.append(now + _RETRY)
        return min((one for one in again if one is not None), default=None)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._wake.wait(self._sleep_s(self._look()))

    def _look(self) -> datetime | None:
        try:
            return self.tick()
        except Exception:
            _LOG.exception("the scheduler met an unexpected error")
            return self._stores.clock.now() + _RETRY

    def _sleep_s(self, until: datetime | None) -> float:
        if until is None:
            return _LONGEST_SLEEP_S
        left_s = (until - self._stores.clock.now()).total_seconds()
        return min(max(left_s, 0.0), _LONGEST_SLEEP_S)

    def _advance(self, schedule: Schedule, now: datetime) -> datetime | None:
        """When to look at it again, if its next time does not say so."""
        self._catch_up_with_runs(schedule)
        while not self._stopping.is_set():
            with self._dealing:
                current = open_schedule(self._stores, schedule.id)
                if current is None:
                    return None
                going = count_going(self._stores, current.id)
                decision = decide_due(current.timing, now, going)
                if decision.handled_until is None:
                    return decision.look_again_at
                if not self._deal(current, decision, now):
                    return now + _RETRY
        return None

    def _deal(self, schedule: Schedule, decision: Decision, now: datetime) -> bool:
        """False: there was trouble that may pass by itself."""
        if decision.run_at is None:
            record_handled(self._stores, schedule, decision)
            return True
        run_id = run_id_of(schedule.id, decision.run_at)
        try:
            self._submit(schedule, decision.run_at, run_id)
        except (Unavailable, MachineryError) as error:
            _LOG.warning("schedule %s (%s): %s", schedule.id, schedule.name, error)
            return False
        except SeamlineError as error:
            _LOG.warning("schedule %s (%s) is refused: %s", schedule.id, schedule.name, error)
            passed = _pass_over(schedule, decision, now)
            record_handled(self._stores, schedule, passed, error=str(error))
        else:
            record_handled(self._stores, schedule, decision, run_id=run_id)
        return True

    def _catch_up_with_runs(self, schedule: Schedule) -> None:
        """A run that was requested, and not noted before the process died, counts."""
        run_id, due_at = latest_scheduled(self._stores, schedule.id)
        first = schedule.timing.next_at
        if run_id is not None and due_at is not None and first is not None and due_at >= first:
            record_handled(self._stores, schedule, Decision(handled_until=due_at), run_id=run_id)


def _pass_over(schedule: Schedule, decision: Decision, now: datetime) -> Decision:
    """All that is due by now would be refused alike."""
    timing, first = schedule.timing, decision.run_at or now
    until = min(now, timing.end_at) if timing.end_at else now
    return replace(decision, handled_until=latest_until(timing.rhythm, first, until))
