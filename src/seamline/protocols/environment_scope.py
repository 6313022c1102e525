"""Which environments a request is about: the one place where those of roles and tokens hold.

Named they are in the path, the query or the JSON body: by name (`environment`, the Kubeflow API's
`namespace`), or by something that lives in one (a run, a schedule, an experiment, a promotion).
What names none is about dataops, where pipelines, packages and data are published, when it changes
something; a list over all environments has to name one; the rest (catalogues, the board, facts) is
the workspace's and no environment's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastapi import Request, params
from fastapi.routing import APIRoute

from seamline.app.platform import Platform
from seamline.domain.errors import Forbidden, NotFound
from seamline.promote.environments import TRAINING
from seamline.promote.promotion import find_promotion
from seamline.store.stores import Stores
from seamline.train.experiments import find_experiment
from seamline.train.runs import find_run_row
from seamline.train.schedule.schedules import find_schedule
from seamline.trust.refusals import require_environments, say_roles
from seamline.trust.roles import Principal, Verb
from seamline.trust.teams import not_their_team

_BY_NAME = frozenset({"environment", "namespace"})


def _of_run(stores: Stores, name: str) -> str:
    with stores.db.read() as connection:
        return str(find_run_row(connection, name).environment)


def _of_schedule(stores: Stores, name: str) -> str:
    return find_schedule(stores, name).environment


def _of_experiment(stores: Stores, name: str) -> str:
    return find_experiment(stores, name).environment


def _of_promotion(stores: Stores, name: str) -> str:
    with stores.db.read() as connection:
        return find_promotion(connection, name).environment


_BY_WHAT_LIVES_IN_IT: Mapping[str, Callable[[Stores, str], str]] = {
    "run_id": _of_run,
    "against_run": _of_run,
    "schedule": _of_schedule,
    "recurring_run_id": _of_schedule,
    "experiment_id": _of_experiment,
    "experimentId": _of_experiment,
    "promotion_id": _of_promotion,
}


def check_named_environments(request: Request, who: Principal, verb: Verb) -> frozenset[str]:
    """Raises Forbidden where path or query name an environment that this is not allowed in.

    Returns those that they name. To be asked before a body is read, which may name others yet.
    """
    if _is_limited_nowhere(who):
        return frozenset()
    named = environments_of(request.app.state.platform, _given(request))
    require_environments(who, verb, named)
    return named


def check_environments(
    request: Request, who: Principal, verb: Verb, body: object = None
) -> Principal:
    """The caller as this request lets them act; raises Forbidden where roles or token do not.

    `body`: the JSON that was sent, if any.
    """
    acting = _in_environments(request, who, verb, body)
    if verb is Verb.RUN and acting.reach is not None:
        _check_run(request, acting, acting.reach)
    return acting


def _in_environments(request: Request, who: Principal, verb: Verb, body: object) -> Principal:
    if _is_limited_nowhere(who):
        return who
    named = check_named_environments(request, who, verb)
    if isinstance(body, dict):
        said = [(name, value) for name, value in body.items() if isinstance(value, str) and value]
        named |= environments_of(request.app.state.platform, said)
    if not named:
        takes, allowed = _query_names(request), who.environments_for(verb)
        if "environment" in takes and allowed is not None:
            raise _about_all(who, allowed)
        if verb is not Verb.READ or "namespace" in takes:
            named = frozenset({TRAINING})
    require_environments(who, verb, named)
    acting = who.acting(verb, named)
    if acting.reach is not None and not acting.reach:
        raise Forbidden(
            f"{who.name} ({say_roles(who)}) may not {verb.replace('_', ' ')} in "
            f"{', '.join(sorted(named))} for that team.",
            next_step="Use a token for the team that the role is for, or for none.",
        )
    return acting


def _check_run(request: Request, who: Principal, teams: frozenset[str]) -> None:
    """Of another team's run, or nobody's, somebody who acts for some teams only sees, and no more;
    what they asked for themselves is theirs."""
    stores: Stores = request.app.state.platform.stores
    run_id = request.path_params.get("run_id")
    if run_id is None:
        return
    with stores.db.read() as connection:
        try:
            run = find_run_row(connection, run_id)
        except NotFound:
            return
    if run.team not in teams and run.requested_by != who.name:
        raise not_their_team(who, f"a run of {run.team or run.requested_by}")


def _is_limited_nowhere(who: Principal) -> bool:
    return who.scope.environments is None and not who.grants


def _about_all(who: Principal, allowed: frozenset[str]) -> Forbidden:
    named = ", ".join(sorted(allowed))
    whose = f"This token of {who.name} is for {named}"
    if who.scope.environments is None:
        whose = f"{who.name} ({say_roles(who)}) may look into {named}"
    return Forbidden(
        f"{whose}; the request is about every environment.",
        next_step=f"Name one of them: environment={min(allowed)}." if allowed else "",
    )


def environments_of(platform: Platform, said: Iterable[tuple[str, str]]) -> frozenset[str]:
    """What is not there is left to the endpoint, whose answer names the nearest."""
    found = set()
    for name, value in said:
        if name in _BY_NAME:
            found.add(value)
        elif name in _BY_WHAT_LIVES_IN_IT:
            try:
                found.add(_BY_WHAT_LIVES_IN_IT[name](platform.stores, value))
            except NotFound:
                continue
    return frozenset(found)


async def json_of(request: Request) -> Any:
    """The body where the route takes JSON, as the framework has read it already; else None."""
    route = request.scope.get("route")
    field = route.body_field if isinstance(route, APIRoute) else None
    if field is None or isinstance(field.field_info, params.Form):
        return None
    try:
        return await request.json()
    except ValueError:  # the route refuses it
        return None


def _given(request: Request) -> list[tuple[str, str]]:
    path = [(name, str(value)) for name, value in request.path_params.items()]
    return [*path, *((name, value) for name, value in request.query_params.multi_items() if value)]


def _query_names(request: Request) -> frozenset[str]:
    """What the route takes in its query."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return frozenset()
    return frozenset(one.alias for one in route.dependant.query_params)
