"""Which models a run makes by a declaration, and what each is called: one, or one per scenario."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seamline.app.declarations import ModelDeclaration
from seamline.app.train.published import Published, find_published
from seamline.domain.errors import InvalidInput, nearest
from seamline.register.models.families import member_name
from seamline.store.stores import Stores
from seamline.train.artifacts import Artifact
from seamline.train.plan.load import load_plan
from seamline.train.plan.types import Plan
from seamline.train.runs import show_request
from seamline.train.scenarios.loop import scenario_label
from seamline.train.views.rounds import Round, find_output, list_made, list_rounds, loops_around

#: Of many that have the same trouble, so many are named.
_NAMED = 3


@dataclass(frozen=True)
class Output:
    """`task.output` in a run: the path has no indexes."""

    path: str
    name: str


@dataclass(frozen=True)
class Source:
    """A run, and where in it the models of a declaration come from."""

    declaration: ModelDeclaration
    run: Mapping[str, Any]
    published: Published
    output: Output
    samples: Output
    profile: Output | None

    @property
    def run_id(self) -> str:
        return str(self.run["id"])


@dataclass(frozen=True)
class Member:
    """What one round of the pipeline makes: a model's name, and the scenario that it is for."""

    name: str
    #: Empty when there is no other.
    scenario: Mapping[str, Any]
    round: Round


@dataclass(frozen=True)
class MadeModel:
    member: Member
    artifact: Artifact
    #: Rows as the model takes them; None when there are none.
    samples: Artifact | None


@dataclass
class Members:
    named: list[Member] = field(default_factory=list)
    #: A model, or the family of those that cannot be named → why.
    refused: dict[str, str] = field(default_factory=dict)


def find_source(stores: Stores, declaration: ModelDeclaration, run_id: str) -> Source:
    """Raises what says that no model can come from this run, whichever way its tasks ended."""
    run = show_request(stores, run_id)
    published = find_published(stores, run)
    plan = load_plan(stores, run["pipeline_digest"])
    named = [declaration.output, declaration.samples]
    named += [declaration.profile] if declaration.profile is not None else []
    outputs = [_find_output(plan, published.prefix, one) for one in named]
    loops = loops_around(plan, outputs[0].path)
    if loops and not declaration.per:
        raise InvalidInput(
            f"{declaration.output} is made in each round of the loop {loops[-1][1]!r}, and "
            f"[models.{declaration.name}] says of one model.",
            next_step='Add per = ["…"]: the fields of an item that tell the models apart.',
        )
    for one in outputs[1:]:
        if not set(loops_around(plan, one.path)) <= set(loops):
            raise InvalidInput(
                f"{one.path}.{one.name} is made in a loop that {declaration.output} is not in: "
                "which of them belongs to which model, nothing says."
            )
    profile = outputs[2] if len(outputs) > 2 else None
    return Source(declaration, run, published, outputs[0], outputs[1], profile)


def list_members(stores: Stores, source: Source) -> Members:
    plan = load_plan(stores, source.run["pipeline_digest"])
    rounds = list_rounds(stores, source.run_id, plan, source.output.path)
    return decide_members(source.declaration, rounds, source.run["arguments"])


def decide_members(
    declaration: ModelDeclaration, rounds: Iterable[Round], arguments: Mapping[str, Any]
) -> Members:
    """One model per round; none for rounds that would make models of one name.

    All rounds count, however they ended: what a model is called does not hang on another's luck.
    `arguments` are the run's: fields of `per` that no loop's item has.
    """
    found = Members()
    by_name: dict[str, list[Member]] = {}
    unnamed: list[str] = []
    for one in rounds:
        try:
            scenario = _choose(declaration, one, arguments)
            name = member_name(declaration.name, scenario) if scenario else declaration.name
            by_name.setdefault(name, []).append(Member(name, scenario, one))
        except InvalidInput as error:
            unnamed.append(f"{_call(one)}: {error}")
    for name, members in by_name.items():
        if len(members) == 1:
            found.named += members
            continue
        found.refused[name] = (
            f"{len(members)} rounds would make models of this name: "
            f"{_list([_call(one.round) for one in members])}. Add fields to per that tell them "
            "apart, or give them values that differ in letters or digits."
        )
    if unnamed:
        found.refused[declaration.name] = _list(unnamed)
    return found


def list_made_models(
    stores: Stores, source: Source, members: Iterable[Member]
) -> tuple[list[MadeModel], list[Member]]:
    """What is there of these members; and those whose task has ended well without the output."""
    made = list_made(stores, source.run_id, source.output.path, source.output.name)
    samples = list_made(stores, source.run_id, source.samples.path, source.samples.name)
    found, lacking = [], []
    for one in members:
        if not one.round.has_made:
            continue  # it failed, was skipped, or did not begin: there is no model
        artifact = made.get(one.round.task)
        if artifact is None:
            lacking.append(one)
            continue
        beside = one.round.beside(source.samples.path)
        found.append(MadeModel(one, artifact, samples.get(beside)))
    return found, lacking


def _find_output(plan: Plan, prefix: str, declared: str) -> Output:
    path, _, name = declared.partition(".")
    return Output(find_output(plan, path, name, prefix), name)


def _choose(
    declaration: ModelDeclaration, one: Round, arguments: Mapping[str, Any]
) -> dict[str, Any]:
    fields = {**arguments, **one.item}
    for name in declaration.per:
        if name not in fields:
            raise InvalidInput(
                f"[models.{declaration.name}] says per {name!r}, and there is no such field.",
                next_step=nearest(name, one.item or arguments),
            )
    return {name: fields[name] for name in declaration.per}


def _call(one: Round) -> str:
    return f"{one.task} ({scenario_label(one.item)})" if one.item else one.task


def _list(words: Sequence[str]) -> str:
    more = f" … and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return "; ".join(words[:_NAMED]) + more
