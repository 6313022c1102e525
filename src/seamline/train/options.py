"""How a run is to be carried out: chosen when it is requested, kept with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from seamline.domain.errors import InvalidInput, nearest
from seamline.domain.states import Fidelity


class FailurePolicy(StrEnum):
    #: Independent branches finish; what needs the failed task is marked.
    SLOW = "slow"
    #: Nothing new starts after the first failure, but exit handlers.
    FAST = "fast"


class Isolation(StrEnum):
    #: Each task in a process of its own, forked from a warm one.
    FORKED = "forked"
    #: Tasks share warm workers: faster, and what one leaves in memory the next one finds.
    REUSE = "reuse"
    #: In the server's own process, for debugging; refused by a server.
    IN_PROCESS = "in_process"
    #: Lightweight components run in their image, too.
    CONTAINER = "container"

    @property
    def fidelity(self) -> Fidelity:
        """How lightweight components run then."""
        return {
            Isolation.FORKED: Fidelity.FORKED,
            Isolation.REUSE: Fidelity.REUSED,
            Isolation.IN_PROCESS: Fidelity.IN_PROCESS,
            Isolation.CONTAINER: Fidelity.CONTAINER,
        }[self]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    failure_policy: FailurePolicy = FailurePolicy.SLOW
    isolation: Isolation = Isolation.FORKED
    #: None: as each task's own caching option says.
    enable_cache: bool | None = None
    #: Older results are made anew; None: any age.
    cache_max_age_s: float | None = None
    #: Tasks of this run that run at the same time; None: as many as there are slots.
    slots: int | None = None
    #: The run is refused, where it would run in a weaker way.
    demand_fidelity: Fidelity | None = None
    #: A task of the run that this one re-runs: it and all that comes after it run again.
    from_task: str | None = None
    #: True: refuse what this machine lacks, instead of noting it.
    demand_resources: bool = False
    #: False: what it makes stays its own, whatever declares its outputs as datasets.
    commits: bool = True


@dataclasses.dataclass(frozen=True)
class RunLabel:
    """What a run is called and filed under; none of it changes what it does."""

    #: Empty: the run's id.
    display_name: str = ""
    team: str = ""
    experiment_id: str | None = None
    schedule_id: str | None = None
    #: ISO time that the schedule had it due.
    scheduled_for: str | None = None
    #: Registry reference ("name@tag").
    reference: str | None = None


UNLABELED = RunLabel()
DEFAULT_OPTIONS = RunOptions()


def options_json(options: RunOptions) -> str:
    """Only what differs from the default.

    >>> options_json(RunOptions(enable_cache=False))
    '{"enable_cache": false}'
    """
    chosen = dataclasses.asdict(options)
    defaults = dataclasses.asdict(DEFAULT_OPTIONS)
    return json.dumps({name: value for name, value in chosen.items() if value != defaults[name]})


def read_options(given: Mapping[str, Any]) -> RunOptions:
    """From JSON; InvalidInput names the option, and what it may be.

    >>> read_options({"failure_policy": "fast"}).failure_policy
    <FailurePolicy.FAST: 'fast'>
    """
    known = {field.name for field in dataclasses.fields(RunOptions)}
    for name in given:
        if name not in known:
            raise InvalidInput(f"{name!r} is no option of a run.", next_step=nearest(name, known))
    return RunOptions(
        failure_policy=_one_of(FailurePolicy, given, "failure_policy", FailurePolicy.SLOW),
        isolation=_one_of(Isolation, given, "isolation", Isolation.FORKED),
        enable_cache=_flag(given, "enable_cache"),
        cache_max_age_s=_number(given, "cache_max_age_s"),
        slots=_slots(given),
        demand_fidelity=_one_of(Fidelity, given, "demand_fidelity", None),
        from_task=_text(given, "from_task"),
        demand_resources=bool(_flag(given, "demand_resources")),
        commits=_flag(given, "commits") is not False,
    )


def _one_of(kind: type[StrEnum], given: Mapping[str, Any], name: str, default: Any) -> Any:
    value = given.get(name)
    if value is None:
        return default
    try:
        return kind(value)
    except ValueError:
        raise InvalidInput(
            f"{name} is {value!r}; it can be {', '.join(kind)}.",
            next_step=nearest(str(value), list(kind)),
        ) from None


def _flag(given: Mapping[str, Any], name: str) -> bool | None:
    value = given.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"{name} has to be true or false, not {value!r}.")
    return value


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"{name} has to be a text, not {value!r}.")
    return value


def _number(given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidInput(f"{name} has to be a number of at least 0, not {value!r}.")
    return float(value)


def _slots(given: Mapping[str, Any]) -> int | None:
    value = _number(given, "slots")
    if value is None:
        return None
    if value < 1 or not value.is_integer():
        raise InvalidInput(f"slots has to be a whole number of at least 1, not {value!r}.")
    return int(value)
