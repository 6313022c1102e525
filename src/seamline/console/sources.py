"""What the pages of governance show, read through the rooms' public functions.

Each function returns the page's whole JSON. `now` is the server's clock when it was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seamline.app.platform import Platform
from seamline.app.promote.board import show_board, show_promotion
from seamline.app.promote.parties import parties_of
from seamline.app.promote.take_part import why_not_decide
from seamline.app.register.show_model import list_models, list_standing_refusals, show_model
from seamline.console.comparisons import with_bars
from seamline.console.lineage import draw_lineage
from seamline.console.run_list import any_going, newest_runs
from seamline.domain.clock import iso
from seamline.domain.errors import NotFound
from seamline.domain.promote_facts import ApprovalDismissed
from seamline.domain.states import PromotionPhase
from seamline.evaluate.backtests import find_backtest, list_backtests
from seamline.evaluate.show import show_evaluation
from seamline.promote.environments import find_environment, list_environments
from seamline.promote.policy import POLICY, Party
from seamline.promote.promotion import Promotion, find_promotion, list_promotions
from seamline.promote.release import StoredRelease, find_release, list_releases
from seamline.register.models.catalogue import find_by_wheel
from seamline.store.facts import read_facts
from seamline.train.runs import show_request
from seamline.trust.roles import Principal, Verb

RECENT_RUNS = 8
RECENT_RELEASES = 3
RECENT_DECISIONS = 8
RECENT_REFUSALS = 20


def read_board(platform: Platform) -> dict[str, Any]:
    board = show_board(platform)
    with platform.stores.db.read() as connection:
        releases = [one.to_json() for one in list_releases(connection)]
    for environment in board["environments"]:
        promotion = environment["promotion_id"]
        environment["promoted"] = show_promotion(platform, promotion) if promotion else None
    waiting = [one for environment in board["environments"] for one in environment["waiting"]]
    runs = newest_runs(platform, RECENT_RUNS)
    return {
        **board,
        "releases": releases[:RECENT_RELEASES],
        "runs": runs,
        "awaiting_approval": sum(one["phase"] == "awaiting_approval" for one in waiting),
        "is_waiting": bool(waiting)
        or any(one["holds"] or one["glass"] for one in board["environments"]),
        "is_moving": any(one["settled_phase"] != "awaiting_approval" for one in waiting)
        or any_going(runs),
        "now": iso(platform.stores.clock.now()),
    }


def read_inbox(platform: Platform, principal: Principal, decided: str | None) -> dict[str, Any]:
    """`decided`: the promotion that the visitor has just approved or rejected."""
    with platform.stores.db.read() as connection:
        found = list_promotions(connection)
    waiting = [one for one in found if one.phase is PromotionPhase.AWAITING_APPROVAL]
    others = [one for one in found if one.phase is not PromotionPhase.AWAITING_APPROVAL]
    known = any(one.id == decided for one in found)
    return {
        "waiting": [read_request(platform, one, principal) for one in waiting],
        "recent": [show_promotion(platform, one.id) for one in others[:RECENT_DECISIONS]],
        "decided": show_promotion(platform, decided) if decided and known else None,
        "now": iso(platform.stores.clock.now()),
    }


def read_request(platform: Platform, promotion: Promotion, principal: Principal) -> dict[str, Any]:
    """A promotion with all that a decision needs, and whether it may be this person's."""
    shown = show_promotion(platform, promotion.id)
    release, parties = load_parties(platform, promotion.id)
    not_approve, not_reject = why_not_decide(platform, promotion.id, principal)
    with platform.stores.db.read() as connection:
        policy = find_environment(connection, promotion.environment).policy
        dismissed = read_facts(connection, kinds=[ApprovalDismissed.kind], subject=promotion.id)
    excluded = [
        {"party": party.value, "name": name, "deed": deed}
        for party in policy.approvals.exclude
        for name, deed in parties.get(party, {}).items()
    ]
    return {
        **shown,
        "release_json": release.to_json(),
        "loading": _loading(platform, release),
        "evaluations": _evaluations(platform, shown["gates"]),
        "backtests": _backtests(platform, shown["gates"]),
        "excluded": excluded,
        "loosened": _loosened(shown["gates"]),
        "dismissed": [{"at": one.at, "reason": one.body["reason"]} for one in dismissed],
        # What would make an approval of theirs a self-approval, where the policy lets them.
        "your_part": {
            party.value: deeds[principal.name]
            for party, deeds in parties.items()
            if principal.name in deeds
        },
        "your_refusal": not_approve,
        "your_approval": any(one["principal"] == principal.name for one in shown["approvals"]),
        "you_may_reject": principal.may(Verb.APPROVE, promotion.environment) and not_reject is None,
    }


def _loosened(gates: Iterable[dict[str, Any]]) -> list[str]:
    """Which rules ask for less than they did, as the gate `policy` found."""
    found = [gate["evidence"].get("loosened", ()) for gate in gates if gate["gate"] == POLICY]
    return [rule for rules in found for rule in rules]


def _loading(platform: Platform, release: StoredRelease) -> dict[str, Any]:
    """Wheel → what model.json says that loading it does; of model wheels only."""
    found = {
        pin.digest: find_by_wheel(platform.stores, pin.digest) for pin in release.release.packages
    }
    return {
        digest: model.document.get("loading")
        for digest, model in found.items()
        if model is not None
    }


def load_parties(
    platform: Platform, promotion_id: str
) -> tuple[StoredRelease, dict[Party, dict[str, str]]]:
    with platform.stores.db.read() as connection:
        promotion = find_promotion(connection, promotion_id)
        release = find_release(connection, promotion.goes_live)
    return release, parties_of(platform, release, promotion)


def _evaluations(platform: Platform, gates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that the gates' evidence names."""
    named = [one["evaluation"] for gate in gates for one in gate["evidence"].get("evaluations", ())]
    return [with_bars(show_evaluation(platform.stores, one)) for one in named]


def _backtests(platform: Platform, gates: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    named = [one["backtest"] for gate in gates for one in gate["evidence"].get("backtests", ())]
    return [find_backtest(platform.stores, one).to_json() for one in named]


def read_models(platform: Platform, of: str | None = None) -> dict[str, Any]:
    """`of`: of a family, each of its models; else a family is one entry."""
    models: dict[str, list[dict[str, Any]]] = {}
    for version in list_models(platform, of=of):
        models.setdefault(version["model"], []).append(version)
    shown = [_model(name, versions) for name, versions in sorted(models.items())]
    families: dict[str, list[dict[str, Any]]] = {}
    for one in shown if of is None else ():
        if one["newest"]["scenario"]:
            families.setdefault(one["newest"]["family"], []).append(one)
    return {
        "of": of,
        "refusals": list_standing_refusals(platform)[:RECENT_REFUSALS] if of is None else [],
        "models": [one for one in shown if of is not None or not one["newest"]["scenario"]],
        "families": [_family(name, members) for name, members in sorted(families.items())],
        "now": iso(platform.stores.clock.now()),
    }


def _model(name: str, versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "newest": versions[0],
        "versions": len(versions),
        "live": [
            {"environment": environment, "version": one["version"]}
            for one in versions
            for environment in one["live_in"]
        ],
    }


def _family(name: str, members: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "fields": list(members[0]["newest"]["scenario"]),
        "models": len(members),
        "versions": sum(one["versions"] for one in members),
        "live": sum(1 for one in members if one["live"]),
        "newest": max((one["newest"] for one in members), key=lambda one: one["registered_at"]),
    }


def read_model(platform: Platform, name: str, version: str | None) -> dict[str, Any]:
    model = show_model(platform, name, version)
    model["evaluations"] = [with_bars(one) for one in model["evaluations"]]
    tested = list_backtests(platform.stores, model["model"], model["version"])
    with platform.stores.db.read() as connection:
        releases = [
            one.to_json()
            for one in list_releases(connection)
            if any(pin.digest == model["wheel_digest"] for pin in one.release.packages)
        ]
        live = {one.name: one.release for one in list_environments(connection) if one.release}
    return {
        "model": model,
        "backtests": [one.to_json() for one in tested],
        "releases": releases,
        "lineage": draw_lineage(model, _run_of(platform, model["run_id"]), releases, live),
        "now": iso(platform.stores.clock.now()),
    }


def _run_of(platform: Platform, run_id: str) -> dict[str, Any] | None:
    """None when the package came from elsewhere."""
    try:
        return show_request(platform.stores, run_id)
    except NotFound:
        return None
