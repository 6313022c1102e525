"""A run has ended: what it made and a seamline.toml declares as models becomes packages.

A run over scenarios may make hundreds. They are packaged in portions, several at a time where the
machine has nothing else to do, and between two portions whatever else has happened is reacted to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from seamline.app.declarations import ModelDeclaration
from seamline.app.platform import Platform
from seamline.app.register.package_model import Bench, Packaging, finish_packaging, start_packaging
from seamline.app.register.run_models import (
    MadeModel,
    Source,
    find_source,
    list_made_models,
    list_members,
)
from seamline.domain.errors import (
    Conflict,
    DigestMismatch,
    InvalidInput,
    NotFound,
    Refused,
)
from seamline.promote.code import find_by_code_run
from seamline.promote.environments import TRAINING
from seamline.register.models.catalogue import payloads_of_runs, refuse_model, refused_since
from seamline.register.pipelines.catalogue import commit_of_pipeline
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import TaskIsolation
from seamline.store.facts import RecordedFact
from seamline.train.artifacts import Artifact
from seamline.train.attempts.requirements import task_requirements
from seamline.train.engine.counts import EngineCounts
from seamline.train.views.rounds import list_read, without_indexes

#: After this time no other model is begun, and the reactions to other facts have their turn.
PORTION_S = 2.0
#: From so many on, one process packages one after another: to fork for each takes most of the time.
MANY = 4
#: What would say the same again: the model is refused, and other reactions to the run go on.
FINAL = (InvalidInput, Refused, NotFound, Conflict, DigestMismatch)
_DATASETS = "datasets://"


def on_run_ended(platform: Platform, fact: RecordedFact) -> bool:
    """Whether there is more to package: then ask again.

    Safe to do again: what is registered, or was refused since the run ended, is left alone.
    """
    if fact.body["environment"] != TRAINING and not _trains_in_place(platform, fact):
        return False
    until = platform.stores.clock.now() + timedelta(seconds=PORTION_S)
    portions = [
        _Portion(platform, declaration, fact, until)
        for declaration in platform.declarations().models.values()
        if declaration.pipeline == fact.body["pipeline"]
    ]
    ended = [one.package() for one in portions]
    # One model's trouble is told once the others had their turn (law 7).
    for one in portions:
        if one.trouble:
            raise one.trouble[0]
    return not all(ended)


def _trains_in_place(platform: Platform, fact: RecordedFact) -> bool:
    """Elsewhere nothing is packaged but what a promotion of code has trained."""
    with platform.stores.db.read() as connection:
        environment, run_id = fact.body["environment"], fact.body["run_id"]
        return find_by_code_run(connection, environment, run_id) is not None


def decide_width(slots: int, counts: EngineCounts) -> int:
    """How many models are packaged at a time: tasks come first, and one always goes on.

    >>> decide_width(4, EngineCounts()), decide_width(4, EngineCounts(ready=9, running=4))
    (4, 1)
    """
    return max(1, slots - counts.running - counts.ready)


@dataclass(frozen=True)
class _Portion:
    """Some of what one declaration's models are in one run."""

    platform: Platform
    declaration: ModelDeclaration
    fact: RecordedFact
    until: datetime
    #: What may be better the next time.
    trouble: list[Exception] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        return str(self.fact.body["run_id"])

    def package(self) -> bool:
        """Whether all that can be packaged is."""
        try:
            source = find_source(self.platform.stores, self.declaration, self.run_id)
            waiting = deque(self._find_work(source))
            if not waiting:
                return True
            bench = self._set_up(source, len(waiting))
        except FINAL as error:
            self._refuse(self.declaration.name, error)
            return True
        return self._package_all(bench, waiting)

    def _package_all(self, bench: Bench, waiting: deque[MadeModel]) -> bool:
        begun: deque[Packaging] = deque()
        try:
            # The first is begun even if other declarations have taken all the time.
            self._begin(bench, waiting.popleft(), begun)
            while begun or (waiting and self._has_time()):
                while waiting and self._has_time() and len(begun) < self._width():
                    self._begin(bench, waiting.popleft(), begun)
                if begun:
                    self._finish(begun.popleft())
        finally:
            for one in begun:  # it cannot be begun again while it is going on
                one.outcome.result()
        return not waiting

    def _begin(self, bench: Bench, made: MadeModel, begun: deque[Packaging]) -> None:
        with self._kept_apart(made.member.name):
            begun.append(start_packaging(self.platform, bench, made))

    def _finish(self, packaging: Packaging) -> None:
        with self._kept_apart(packaging.made.member.name):
            finish_packaging(self.platform, packaging, self.fact.id)

    @contextmanager
    def _kept_apart(self, model: str) -> Iterator[None]:
        """What goes wrong with one model stops no other."""
        try:
            yield
        except FINAL as error:
            self._refuse(model, error)
        except Exception as error:
            self.trouble.append(error)

    def _find_work(self, source: Source) -> Iterator[MadeModel]:
        stores = self.platform.stores
        members = list_members(stores, source)
        for name, reason in members.refused.items():
            self._refuse(name, reason)
        made, lacking = list_made_models(stores, source, members.named)
        for member in lacking:
            output = f"{member.round.task}.{source.output.name}"
            self._refuse(member.name, f"Run {self.run_id} has no artifact {output}.")
        refused = refused_since(stores, self.run_id, self.fact.seq)
        runs = [one.member.round.cached_run or self.run_id for one in made]
        registered = payloads_of_runs(stores, {*runs, self.run_id})
        for one in made:
            name, digest = one.member.name, one.artifact.digest
            # A scenario whose result came from the cache was trained by that other run.
            trained_by = {self.run_id}
            if one.member.scenario and one.member.round.cached_run:
                trained_by.add(one.member.round.cached_run)
            is_there = any((run_id, name, digest) in registered for run_id in trained_by)
            if not is_there and name not in refused:
                yield one

    def _set_up(self, source: Source, models: int) -> Bench:
        stores = self.platform.stores
        digest, path = source.run["pipeline_digest"], source.output.path
        requirements = task_requirements(stores, digest, path)
        return Bench(
            source=source,
            requirements=requirements,
            environment=self.platform.environments.ensure(RequirementSet.of(requirements)),
            read=_by_task(list_read(stores, self.run_id, _DATASETS)),
            commit=commit_of_pipeline(stores, source.published.digest),
            isolation=TaskIsolation.REUSED if models >= MANY else TaskIsolation.FORKED,
        )

    def _width(self) -> int:
        return decide_width(self.platform.engine.slots, self.platform.counts())

    def _has_time(self) -> bool:
        return self.platform.stores.clock.now() < self.until

    def _refuse(self, model: str, reason: object) -> None:
        stores = self.platform.stores
        refuse_model(stores, model, self.run_id, str(reason), caused_by=self.fact.id)


def _by_task(read: list[tuple[str, Artifact]]) -> dict[str, dict[str, Artifact]]:
    """Task → the same task in each round → what it found."""
    found: dict[str, dict[str, Artifact]] = {}
    for path, artifact in read:
        found.setdefault(without_indexes(path), {})[path] = artifact
    return found
