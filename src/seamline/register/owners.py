"""Who owns a published name: the team that published it first, or the person who has no team.

Names are kept apart by registry: all packages (wheels) are one, each repository of pipelines is
one of its own. Nobody else publishes, tags or deletes under a name; an admin may, and may hand it
over to a team.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name
from sqlalchemy import ColumnElement, Connection, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from seamline.domain.clock import iso
from seamline.domain.errors import Forbidden, InvalidInput, Refused, not_found
from seamline.domain.facts import NameOwned
from seamline.register.names import normalised_package
from seamline.register.rows import PACKAGE_NAMES, PIPELINE_NAMES
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Verb
from seamline.trust.teams import check_team

#: The registry of wheels; every other one is a repository of pipelines.
PACKAGES = "packages"
#: Kinds of names among the packages: uploaded by people, or made of a declared model.
UPLOADED, MODEL = "uploaded", "model"


@dataclass(frozen=True)
class Owner:
    """`person` published it first; with a `team`, it is the team's."""

    person: str
    team: str | None

    def __str__(self) -> str:
        return self.person if self.team is None else f"the team {self.team}"


@dataclass(frozen=True)
class OwnedName:
    registry: str
    name: str
    owner: Owner

    def to_json(self) -> dict[str, Any]:
        return {
            "registry": self.registry,
            "name": self.name,
            "owner": self.owner.person,
            "team": self.owner.team,
        }


def nobody_else(name: str) -> Principal:
    """Whoever is known by their name only: in no team, with no role.

    >>> may_use(Owner("ada", None), nobody_else("ada"))
    True
    """
    return Principal(name, frozenset())


def may_use(owner: Owner, who: Principal) -> bool:
    """A token for one team reaches that team's names only, its principal's own ones neither; so
    does a role for some teams.

    >>> from seamline.trust.roles import Scope
    >>> ada = Principal("ada", frozenset(), frozenset({"arrivals"}))
    >>> may_use(Owner("bob", "arrivals"), ada), may_use(Owner("bob", "punctuality"), ada)
    (True, False)
    >>> robot = Principal("ada", frozenset(), ada.teams, Scope(team="arrivals"))
    >>> may_use(Owner("ada", None), ada), may_use(Owner("ada", None), robot)
    (True, False)
    """
    if who.reach is not None:
        return owner.team in who.reach
    if who.may(Verb.ADMINISTER):
        return True
    if owner.team is not None:
        return owner.team in who.teams
    return owner.person == who.name


def decide_team(what: str, who: Principal) -> str | None:
    """The team that a new name is to belong to; InvalidInput when that is not clear.

    >>> decide_team("x", Principal("ada", frozenset(), frozenset({"arrivals"})))
    'arrivals'
    >>> decide_team("x", Principal("ada", frozenset())) is None
    True
    """
    teams = who.teams if who.reach is None else who.reach
    if len(teams) > 1:
        raise InvalidInput(
            f"{who.name} {'belongs to' if who.reach is None else 'has roles for'} "
            f"{' and '.join(sorted(teams))}, and {what} is new: whose "
            "it is to be is not told.",
            next_step=f"Publish with a token of one team: seamline token issue {who.name} "
            "--team TEAM.",
        )
    return next(iter(teams), None)


def claim_package(stores: Stores, tx: Connection, name: str, who: Principal) -> None:
    """The name is theirs from now on, or Forbidden says whose it is."""
    values = {"name": name, "kind": UPLOADED}
    _claim(stores, tx, PACKAGE_NAMES, values, PACKAGES, who)


def claim_pipeline(
    stores: Stores, tx: Connection, repository: str, package: str, who: Principal
) -> None:
    """The name is theirs from now on, or Forbidden says whose it is."""
    values = {"repository": repository, "package": package}
    _claim(stores, tx, PIPELINE_NAMES, values, repository, who)


def hand_over(stores: Stores, registry: str, name: str, team: str, *, by: str) -> OwnedName:
    """The admin's decision: from now on the name is the team's.

    Refused for a model's name, whose versions come from runs alone.
    """
    table = PACKAGE_NAMES if registry == PACKAGES else PIPELINE_NAMES
    wanted = _normalised(registry, name)
    with stores.db.transaction() as tx:
        check_team(tx, team)
        known = [one for one in _owned(tx) if one.registry == registry]
        found = next((one for one in known if one.name == wanted), None)
        if found is None:
            raise _unknown(tx, registry, name, known)
        if found.owner.team != team:
            tx.execute(update(table).where(*_key(table, registry, wanted)).values(team=team))
            before = found.owner.team or found.owner.person
            stores.facts.append(tx, NameOwned(wanted, registry, team, before), by=by)
    return OwnedName(registry, wanted, Owner(found.owner.person, team))


def publishers_of(connection: Connection, names: Iterable[str]) -> dict[str, Owner]:
    """Of these names, those under which somebody has uploaded packages: name as given → owner."""
    spelt = {str(canonicalize_name(name)): name for name in names}
    return {
        spelt[one.name]: one.owner
        for one in _owned(connection)
        if one.registry == PACKAGES and one.name in spelt
    }


def list_owned_names(stores: Stores, team: str | None = None) -> list[OwnedName]:
    """Of every registry; of one team, or all. Models' names are the platform's and not listed."""
    with stores.db.read() as connection:
        if team is not None:
            check_team(connection, team)
        return [one for one in _owned(connection) if team is None or one.owner.team == team]


def _claim(
    stores: Stores,
    tx: Connection,
    table: Table,
    values: dict[str, str],
    registry: str,
    who: Principal,
) -> None:
    name = values.get("package") or values["name"]
    spoken = f"The {'package' if registry == PACKAGES else 'pipeline'} name {name}"
    here = _key(table, registry, name)
    row = tx.execute(select(table).where(*here)).one_or_none()
    if row is None:
        team = decide_team(name, who)
        at = iso(stores.clock.now())
        try:
            with tx.begin_nested():
                claimed = {**values, "owner": who.name, "team": team, "published_at": at}
                tx.execute(insert(table).values(**claimed))
        except IntegrityError:  # somebody published first, at the same instant
            row = tx.execute(select(table).where(*here)).one()
        else:
            if team is not None:
                stores.facts.append(tx, NameOwned(name, registry, team, None), by=who.name)
            return
    owner = Owner(row.owner, row.team)
    if not may_use(owner, who):
        raise _forbidden(spoken, owner, who)


def _forbidden(spoken: str, owner: Owner, who: Principal) -> Forbidden:
    acting = sorted(who.teams if who.reach is None else who.reach)
    of = f" ({', '.join(acting)})" if acting else ""
    return Forbidden(
        f"{spoken} belongs to {owner}; {who.name}{of} cannot publish under it.",
        next_step=f"Choose another name, or ask {owner}; an admin can hand it over: "
        "seamline team give.",
    )


def _unknown(tx: Connection, registry: str, name: str, known: Iterable[OwnedName]) -> Exception:
    is_model = (
        registry == PACKAGES
        and tx.execute(
            select(PACKAGE_NAMES.c.name).where(PACKAGE_NAMES.c.name == _normalised(registry, name))
        ).first()
    )
    if is_model:
        return Refused(
            f"{name} is a model's name: its versions come from runs, and it belongs to the "
            "project that declares the model."
        )
    what = "package" if registry == PACKAGES else f"pipeline in {registry}"
    return not_found(what, name, [one.name for one in known])


def _normalised(registry: str, name: str) -> str:
    return str(canonicalize_name(name)) if registry == PACKAGES else normalised_package(name)


def _key(table: Table, registry: str, name: str) -> list[ColumnElement[bool]]:
    if registry == PACKAGES:
        return [table.c.name == name]
    return [table.c.repository == registry, table.c.package == name]


def _owned(connection: Connection) -> list[OwnedName]:
    packages = connection.execute(
        select(PACKAGE_NAMES).where(PACKAGE_NAMES.c.kind == UPLOADED).order_by(PACKAGE_NAMES.c.name)
    )
    pipelines = connection.execute(
        select(PIPELINE_NAMES).order_by(PIPELINE_NAMES.c.repository, PIPELINE_NAMES.c.package)
    )
    return [
        *(OwnedName(PACKAGES, row.name, Owner(row.owner, row.team)) for row in packages),
        *(OwnedName(row.repository, row.package, Owner(row.owner, row.team)) for row in pipelines),
    ]
