"""Tells hooks what was recorded: one thread that looks, and one for each hook that has something
to be told at this moment. A receiver that hangs holds up its own hook and nothing else."""

from __future__ import annotations

import logging
import threading

from seamline.domain.errors import InvalidInput, SeamlineError
from seamline.hooks.declaration import split_secret
from seamline.hooks.deliveries import (
    Answer,
    Claimed,
    DeliveryState,
    claim,
    queue_new,
    record_answer,
    release_leases,
    waits_s,
)
from seamline.hooks.message import body_of, headers_of
from seamline.hooks.sending import Call
from seamline.store.stores import Stores
from seamline.trust.hmac_signing import parse_webhook_key
from seamline.trust.secrets import SecretKind, read_values

#: Also when nothing is due: the machine's clock may have been set, or it may have slept.
_LONGEST_SLEEP_S = 60.0
#: What a busy engine commits within this time is looked at together.
_TOGETHER_S = 0.2
#: After trouble of our own, with the database for one.
_RETRY_S = 5.0
#: How long threads are waited for that were told to stop.
_PATIENCE_S = 5.0
#: Keys of the secret that sign, in this order; the second one while receivers change over.
_SIGNING = ("signing", "previous")
_LOG = logging.getLogger("seamline.hooks")


class HookSender:
    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._wake = threading.Event()
        self._stopping = threading.Event()
        #: Guards the two below, and that no answer is recorded after `stop`.
        self._lock = threading.Lock()
        self._workers: dict[str, threading.Thread] = {}
        self._calls: dict[str, Call] = {}
        self._thread = threading.Thread(target=self._run, name="seamline-hooks", daemon=True)

    def start(self) -> None:
        """Whoever starts it holds the workspace: what is leased now, a dead process leased."""
        release_leases(self._stores)
        self._stores.db.on_commit(self._wake.set)
        self._thread.start()

    def stop(self) -> None:
        """Attempts that are going on are given up, as if killed: the next start makes them anew."""
        with self._lock:
            self._stopping.set()
            calls, workers = list(self._calls.values()), list(self._workers.values())
        self._wake.set()
        for call in calls:
            call.end()
        for thread in (self._thread, *workers):
            if thread.is_alive():
                thread.join(_PATIENCE_S)

    def send_next(self, hook: str) -> DeliveryState | None:
        """Makes one attempt with the hook's first delivery; None where none is due."""
        claimed = claim(self._stores, hook)
        if claimed is None:
            return None
        answer = self._tell(claimed)
        with self._lock:
            if self._stopping.is_set():
                return None
            state = record_answer(self._stores, claimed, answer)
        if state is DeliveryState.FAILED:
            _LOG.warning("hook %s: given up on fact %s: %s", hook, claimed.fact.id, answer.error)
        return state

    def _tell(self, claimed: Claimed) -> Answer:
        body = body_of(claimed.fact)
        try:
            headers = headers_of(
                claimed.fact, body, self._stores.clock.now(), self._keys(claimed.secret)
            )
        except SeamlineError as error:
            return Answer(None, str(error))
        call = Call(claimed.url, headers, body, claimed.timeout_s)
        with self._lock:
            if self._stopping.is_set():
                return Answer(None, "The server stops.")
            self._calls[claimed.hook] = call
        try:
            return call.send()
        finally:
            with self._lock:
                self._calls.pop(claimed.hook, None)

    def _keys(self, secret: str) -> list[bytes]:
        environment, name = split_secret(secret)
        values = read_values(self._stores, environment, SecretKind.SECRET, name)
        if _SIGNING[0] not in values:
            raise InvalidInput(
                f"The secret {secret} has no key {_SIGNING[0]!r}.",
                next_step=f"seamline secret set {name} {_SIGNING[0]} --environment {environment}",
            )
        return [parse_webhook_key(values[key]) for key in _SIGNING if key in values]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                sleep_s = self._look()
            except Exception:
                # It must survive whatever a database or a disk does.
                _LOG.exception("hooks met an unexpected error")
                sleep_s = _RETRY_S
            if self._wake.wait(sleep_s):
                self._stopping.wait(_TOGETHER_S)

    def _look(self) -> float:
        """How long nothing is due."""
        queue_new(self._stores)
        sleep_s = _LONGEST_SLEEP_S
        for hook, wait_s in waits_s(self._stores).items():
            with self._lock:
                if hook in self._workers or self._stopping.is_set():
                    continue
                if wait_s > 0:
                    sleep_s = min(sleep_s, wait_s)
                    continue
                worker = threading.Thread(
                    target=self._work, args=(hook,), name=f"seamline-hook-{hook}", daemon=True
                )
                self._workers[hook] = worker
            worker.start()
        return sleep_s

    def _work(self, hook: str) -> None:
        try:
            while not self._stopping.is_set() and self.send_next(hook) is not None:
                continue
        except Exception:
            _LOG.exception("hook %s", hook)
            self._stopping.wait(_RETRY_S)
        finally:
            with self._lock:
                self._workers.pop(hook, None)
            self._wake.set()
