"""Whether a known result stands in for a task of a run: its key, the look-up, and why not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from seamline.domain.errors import SeamlineError
from seamline.domain.states import weaker
from seamline.store.stores import Stores
from seamline.train.context import PinImage, RunContext
from seamline.train.engine.cache import Hit, look_up, look_up_run
from seamline.train.engine.cache_key import KeyMaker, is_repeatable, key_of
from seamline.train.engine.live import LiveRun
from seamline.train.engine.rerun import is_at_or_after
from seamline.train.ir.types import ContainerExecutor
from seamline.train.options import Isolation
from seamline.train.plan.inputs import inputs_json
from seamline.train.plan.types import NodeKind, PlannedTask


class Shortcuts:
    """Of one run."""

    def __init__(self, stores: Stores, run: LiveRun, pin_image: PinImage) -> None:
        self._stores = stores
        self._run = run
        self._pin_image = pin_image
        self._keys = KeyMaker(run.row.environment, self._pinned)

    def find(self, tx: Connection, ready: Sequence[str]) -> dict[str, Hit]:
        """Task → the result that stands in for it; few statements, however many tasks."""
        options, reuses = self._run.row.options, self._run.row.reuses_run
        keys: dict[str, str] = {}
        for path in ready:
            if self._may_reuse(path) and (key := self._key(path)):
                keys[path] = key
        hits: dict[str, Hit] = {}
        if reuses:
            hits = look_up_run(tx, self._stores, reuses, keys)
        cacheable = {p: k for p, k in keys.items() if p not in hits and self._is_cacheable(p)}
        if cacheable:
            wanted = list(dict.fromkeys(cacheable.values()))
            found = look_up(tx, self._stores, wanted, options.cache_max_age_s)
            hits |= {path: found[key] for path, key in cacheable.items() if key in found}
        return {path: hit for path, hit in hits.items() if self._is_near_enough(hit)}

    def columns(self, path: str) -> dict[str, Any]:
        """What a task's row says of its inputs and its key."""
        scope, _ = self._run.locate(path)
        task = self._run.task(path)
        columns: dict[str, Any] = {"inputs": inputs_json(scope, task)}
        if task.kind is not NodeKind.IMPORTER:
            parts = self._parts(path)
            columns |= {
                "cache_key": self._stamp(task, parts),
                "cache_parts": json.dumps(parts),
            }
        return columns

    def _may_reuse(self, path: str) -> bool:
        task = self._run.task(path)
        if self._run.attempts[path] > 0 or not is_repeatable(task):
            return False
        start = self._run.row.options.from_task
        return start is None or not is_at_or_after(self._run.plan, start, path)

    def _is_cacheable(self, path: str) -> bool:
        chosen = self._run.row.options.enable_cache
        return self._run.task(path).enable_cache if chosen is None else chosen

    def _is_near_enough(self, hit: Hit) -> bool:
        demanded = self._run.row.options.demand_fidelity
        if demanded is None:
            return True
        return hit.fidelity is not None and weaker(hit.fidelity, demanded) is demanded

    def _key(self, path: str) -> str | None:
        """None when its inputs cannot be had: then it fails at its start, and says why."""
        try:
            return str(key_of(self._parts(path)))
        except SeamlineError:
            return None

    def _stamp(self, task: PlannedTask, parts: dict[str, Any]) -> str | None:
        return str(key_of(parts)) if is_repeatable(task) else None

    def _pinned(self, executor: ContainerExecutor) -> str:
        """Two versions of a pipeline may name one tag, and have found other images under it."""
        row, image = self._run.row, executor.image
        if executor.function is not None and row.options.isolation is not Isolation.CONTAINER:
            return image  # it runs in no image
        context = RunContext(
            row.id, row.environment, row.pipeline, row.requested_by, "", row.release
        )
        try:
            return self._pin_image(context, image)
        except SeamlineError:  # its task says so when it starts
            return image

    def _parts(self, path: str) -> dict[str, Any]:
        scope, name = self._run.locate(path)
        task = self._run.task(path)
        parameters = scope.parameters_of(task.parameters, name)
        return self._keys.parts(task, parameters, scope.artifacts_of(task.artifacts))
