"""The models that run: started once, kept while anything names them, ended when nothing does.

What is served and what is only kept warm stand side by side here, so that a swap moves no model:
one that was live stays running as the standby of what took its place.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from seamline.domain.errors import MachineryError, SeamlineError, Unavailable
from seamline.serve.engine import Engine
from seamline.serve.inputs.validate import Tensor, rows_of
from seamline.serve.metrics import Labels, Metrics
from seamline.serve.models.batching import Batcher
from seamline.serve.models.many_models import ManyModels
from seamline.serve.models.shelf import Want, nobody_brings
from seamline.serve.models.twins import NoTwin, TwinEngine, TwinRefused
from seamline.serve.models.warming import warm_as
from seamline.serve.routing import ServedModel
from seamline.serve.snapshots.families import Family
from seamline.serve.snapshots.snapshot import EndpointSpec, TwinPolicy
from seamline.serve.snapshots.warmth import Warmth
from seamline.serve.workers.ahead import StartedAhead
from seamline.serve.workers.worker import ModelWorker

LOG = logging.getLogger(__name__)

#: Two specs of one environment that agree in this share one running worker.
Identity = tuple[object, ...]
_Key = tuple[str, Identity]


def start_identity(spec: EndpointSpec) -> Identity:
    return (
        spec.endpoint, spec.model, spec.model_version, spec.package_digest, spec.wheel_path,
        spec.module, spec.python, spec.signature, spec.twin,
    )  # fmt: skip


class RunningModels:
    """`on_settled` is called whenever a start has ended, well or not; `want` asks for a package
    that is not here yet."""

    def __init__(
        self,
        metrics: Metrics,
        on_settled: Callable[[], None],
        want: Want = nobody_brings,
        ahead: StartedAhead | None = None,
    ) -> None:
        self._metrics, self._want, self._ahead = metrics, want, ahead
        self._on_settled = on_settled
        self._starts: dict[_Key, asyncio.Task[ServedModel]] = {}
        #: What goes on after whoever asked for it has gone on: ends, and starts of what rested.
        self._leaving: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(os.cpu_count() or 1)

    async def answering(
        self, environment: str, spec: EndpointSpec, before: ServedModel | None = None
    ) -> ServedModel:
        """One that answers now: warm and asked once more, or started now. Raises why not.

        Of many models behind one endpoint, those are warm that `before` was asked for.
        """
        key = (environment, start_identity(spec))
        task = self._starts.get(key)
        if task is not None and task.done() and not await _still_answers(spec, task):
            self._end(key)
        found = await asyncio.shield(self._start(key, spec))
        if before is not None and before is not found:
            many, previous = found.worker, before.worker
            if isinstance(many, ManyModels) and isinstance(previous, ManyModels):
                await warm_as(many, previous)
        return found

    def warm_up(self, environment: str, spec: EndpointSpec) -> None:
        """Starts it unless it runs; what comes of it is told by `warmth`, log and metrics."""
        key = (environment, start_identity(spec))
        if key in self._starts:
            self._wake(self._starts[key])
            return

        def told(task: asyncio.Task[ServedModel]) -> None:
            problem = "" if task.cancelled() else _problem_of(task)
            if problem:
                labels = (("environment", environment),)
                self._metrics.add("seamline_standby_failures_total", labels)
                LOG.error("%s: a standby is not warm: %s", environment, problem)

        self._start(key, spec).add_done_callback(told)

    def warmth(self, environment: str, specs: Iterable[EndpointSpec]) -> tuple[Warmth, str]:
        """Of all of them together, and in words why some do not load."""
        found = [self._starts.get((environment, start_identity(spec))) for spec in specs]
        if any(task is None or not task.done() for task in found):
            return Warmth.WARMING, ""
        done = [task for task in found if task is not None]
        problem = " ".join(filter(None, map(_problem_of, done)))
        if problem:
            return Warmth.FAILED, problem
        is_up = all(task.result().worker.is_alive for task in done)
        return (Warmth.WARM if is_up else Warmth.WARMING), ""

    def warm_model(self, environment: str, spec: EndpointSpec) -> ServedModel:
        """The one that is loaded and proved. Unavailable while it is not, or says why it cannot."""
        task = self._starts.get((environment, start_identity(spec)))
        if task is None or not task.done():
            raise Unavailable(f"The model of endpoint {spec.endpoint} is being loaded.")
        problem = _problem_of(task)
        if problem:
            raise Unavailable(problem)
        return task.result()

    def keep_only(self, environment: str, specs: Iterable[EndpointSpec]) -> None:
        """The memory of all others of this environment is given back, each once its last request
        is answered. What failed is forgotten, so that it is tried again when it is named next."""
        wanted = {(environment, start_identity(spec)) for spec in specs}
        for key in [key for key in self._starts if key[0] == environment]:
            task = self._starts[key]
            if key not in wanted or (task.done() and _problem_of(task)):
                self._end(key)

    async def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        for key in list(self._starts):
            self._end(key)
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _start(self, key: _Key, spec: EndpointSpec) -> asyncio.Task[ServedModel]:
        task = self._starts.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._load(key[0], spec))
            task.add_done_callback(self._settled)
            self._starts[key] = task
        return task

    async def _load(self, environment: str, spec: EndpointSpec) -> ServedModel:
        labels = (("environment", environment), ("endpoint", spec.endpoint))
        if spec.family is not None:
            return await self._load_family(spec, spec.family, labels)
        async with self._turns:
            worker = await self._start_engine(environment, spec, labels)
        batcher = Batcher(
            worker.predict,
            on_batch=lambda rows: self._metrics.observe("seamline_batch_rows", labels, rows),
            come_back=worker.come_back,
        )
        try:
            await _probe(spec, worker)
        except BaseException:
            await worker.close()
            raise
        return ServedModel(worker, batcher)

    async def _load_family(self, spec: EndpointSpec, family: Family, labels: Labels) -> ServedModel:
        async with self._turns:
            many = await ManyModels.start(spec, family, self._metrics, labels, self._want)
        try:
            await _probe(spec, many)
        except BaseException:
            await many.close()
            raise
        return ServedModel(many, many)

    async def _start_engine(self, environment: str, spec: EndpointSpec, labels: Labels) -> Engine:
        """The twin, where it may answer and does as the model; else a worker."""
        what = f"{environment}: endpoint {spec.endpoint}"
        if spec.twin is not TwinPolicy.NEVER:
            try:
                twin = await TwinEngine.start(spec)
            except NoTwin as error:
                if isinstance(error, TwinRefused):
                    self._metrics.add("seamline_twin_refusals_total", labels)
                    LOG.error("%s: the ONNX twin is not used: %s", what, error)
                if spec.twin is TwinPolicy.REQUIRE:
                    raise MachineryError(
                        f"Endpoint {spec.endpoint} is to be answered by the ONNX twin of "
                        f"{spec.model} {spec.model_version}, and is not: {error}"
                    ) from error
            else:
                LOG.info("%s: the ONNX twin of %s answers", what, spec.model_version)
                self._metrics.put("seamline_endpoint_twin", labels, 1)
                return twin
        self._metrics.put("seamline_endpoint_twin", labels, 0)
        return await ModelWorker.start(
            spec, lambda: self._metrics.add("seamline_worker_restarts_total", labels), self._ahead
        )

    def _wake(self, task: asyncio.Task[ServedModel]) -> None:
        """One that was unloaded while it answered is no standby until it is loaded again."""
        if not task.done() or _problem_of(task) or not task.result().worker.is_resting:
            return
        waking = asyncio.get_running_loop().create_task(task.result().worker.wake())
        self._leaving.add(waking)

        def told(done: asyncio.Task[None]) -> None:
            self._leaving.discard(done)
            self._settled(done)

        waking.add_done_callback(told)

    def _settled(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled():
            task.exception()  # looked at by whoever asks for the model or its warmth
        self._on_settled()

    def _end(self, key: _Key) -> None:
        leaving = asyncio.get_running_loop().create_task(_leave(self._starts.pop(key)))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)


async def _leave(task: asyncio.Task[ServedModel]) -> None:
    """One that is still being started goes at once, a running one after its last request."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and task.exception() is None:
        await task.result().retire()


async def _still_answers(spec: EndpointSpec, task: asyncio.Task[ServedModel]) -> bool:
    """A worker that went away since it was proved is started again from verified bytes, or is the
    reason why the swap is refused."""
    if task.cancelled() or task.exception() is not None:
        return False
    try:
        await _probe(spec, task.result().worker)
    except SeamlineError as error:
        LOG.warning("The warm model of endpoint %s does not answer: %s", spec.endpoint, error)
        return False
    return True


def _problem_of(task: asyncio.Task[ServedModel]) -> str:
    if task.cancelled():
        return "Its start was ended."
    error = task.exception()
    return "" if error is None else str(error)


async def _probe(spec: EndpointSpec, worker: Engine) -> None:
    """One sample row, by the same way that a request takes."""
    if worker.probe is None:
        if not worker.is_alive:
            raise Unavailable(f"The worker of endpoint {spec.endpoint} is being started again.")
        return
    tensors = [
        Tensor(column.name, column.datatype, [1], [worker.probe.get(column.name)])
        for column in spec.signature.inputs
    ]
    rows = rows_of(tensors, _without_times(spec))
    await worker.predict(rows.columns, rows.count)


def _without_times(spec: EndpointSpec) -> EndpointSpec:
    """Sample rows hold what the model takes, and no more."""
    return dataclasses.replace(spec, event_time=None, context=())
