from __future__ import annotations

import pytest

from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.facts import ProjectApplied
from seamline.domain.promote_facts import PolicyApplied
from seamline.project.plan import apply_project, load_declarations, plan_project
from seamline.promote.environments import apply_policies, list_environments
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

PLATFORM = """
project = "platform"
team = "platform"
[environments.dataops]
[environments.production]
after = "dataops"
approvals = { count = 1 }
"""
SHOP = """
project = "shop"
team = "shop"
[datasets.sales]
time = "at"
"""


def _apply(stores: Stores, text: str) -> list[str]:
    plan = apply_project(stores, text, "seamline.toml", by="ada")
    return [change.sentence() for change in plan.changes]


def test_plan_says_and_apply_does(stores: Stores) -> None:
    assert plan_project(stores, SHOP, "f").to_json()["changes"][0]["sign"] == "+"
    with stores.db.read() as connection:
        assert load_declarations(connection).datasets == {}
    assert _apply(stores, SHOP) == ["+ datasets.sales"]
    assert _apply(stores, SHOP) == []
    assert _apply(stores, SHOP.replace('"at"', '"when"')) == ["~ datasets.sales: time: at → when"]
    assert _apply(stores, 'project = "shop"\nteam = "shop"\n') == ["- datasets.sales"]
    with stores.db.read() as connection:
        assert len(read_facts(connection, kinds=[ProjectApplied.kind])) == 3


def test_policies_take_the_place_of_the_shipped_ones(stores: Stores) -> None:
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, DEFAULT_POLICIES, by="root")
    said = _apply(stores, PLATFORM)
    assert any(line.startswith("~ environments.production") for line in said)
    assert "- environments.staging" in said
    with stores.db.read() as connection:
        assert [one.name for one in list_environments(connection)] == ["dataops", "production"]
        changed = read_facts(connection, kinds=[PolicyApplied.kind], subject="production")
    assert [fact.body["before"] is None for fact in changed] == [True, False]


def test_environments_that_a_later_edit_drops_are_said(stores: Stores) -> None:
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, DEFAULT_POLICIES, by="root")
    assert _apply(stores, SHOP) == ["+ datasets.sales"]
    formats = SHOP + '[environments.dataops]\nformats = ["pickle"]\n'
    assert _apply(stores, formats) == [
        "~ environments.dataops: formats: + pickle",
        "- environments.development",
        "- environments.staging",
        "- environments.production",
    ]


def test_without_environments_the_shipped_policies_return(stores: Stores) -> None:
    with stores.db.transaction() as tx:
        apply_policies(tx, stores.facts, DEFAULT_POLICIES, by="root")
    _apply(stores, SHOP + '[environments.dataops]\nformats = ["pickle"]\n')
    said = _apply(stores, SHOP)
    assert "~ environments.dataops: formats: - pickle" in said
    assert "+ environments.production" in said
    with stores.db.read() as connection:
        standing = tuple(one.policy for one in list_environments(connection))
    assert standing == DEFAULT_POLICIES


def test_what_another_project_owns_is_refused(stores: Stores) -> None:
    _apply(stores, PLATFORM)
    _apply(stores, SHOP)
    other = SHOP.replace('project = "shop"', 'project = "market"')
    with pytest.raises(Refused, match=r"datasets\.sales belongs to the project 'shop'"):
        _apply(stores, other)
    with pytest.raises(Refused, match="belongs to the project 'platform'"):
        _apply(stores, PLATFORM.replace('project = "platform"', 'project = "rebels"'))
    with stores.db.read() as connection:
        assert set(load_declarations(connection).datasets) == {"sales"}


def test_a_bad_file_changes_nothing(stores: Stores) -> None:
    with pytest.raises(InvalidInput):
        _apply(stores, SHOP + "[models.x]\n")
    with stores.db.read() as connection:
        assert read_facts(connection, kinds=[ProjectApplied.kind]) == []


def test_a_plan_refuses_what_apply_would(stores: Stores) -> None:
    mistyped = PLATFORM.replace("approvals = { count = 1 }", 'gates = ["digest"]')
    for attempt in (plan_project, lambda *given: apply_project(*given, by="ada")):
        with pytest.raises(InvalidInput, match="no gate 'digest'"):
            attempt(stores, mistyped, "seamline.toml")


@pytest.mark.parametrize("name", ["", "A Shop", "s" * 64, "../shop"])
def test_a_project_has_a_name_that_can_be_one(stores: Stores, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"seamline\.toml:2: project = .* cannot be a name"):
        plan_project(stores, SHOP.replace('"shop"', f'"{name}"', 1), "seamline.toml")


FAMILY = """
[models.delay]
pipeline = "train"
output = "each/fit.model"
samples = "each/fit.rows"
per = ["origin"]

[deployments.delay]
model = "MODEL"
"""


def test_a_deployment_names_a_family_or_one_of_its_models(stores: Stores) -> None:
    assert _apply(stores, SHOP + FAMILY.replace("MODEL", "delay-jfk"))[-1] == "+ deployments.delay"
    with stores.db.read() as connection:
        assert load_declarations(connection).model("delay-jfk").name == "delay"
    _apply(stores, SHOP + FAMILY.replace("MODEL", "delay"))
    whole = SHOP + FAMILY.replace('"MODEL"', '"delay"\ndefault = "delay"')
    with pytest.raises(
        InvalidInput, match=r"delay has one model per scenario \(origin\)"
    ) as caught:
        _apply(stores, whole)
    assert caught.value.next_step == "Name one of them, as in delay-origin."
    with pytest.raises(InvalidInput, match="memory"):
        _apply(stores, SHOP + FAMILY.replace('"MODEL"', '"delay"\nmemory = "lots"'))
    with pytest.raises(InvalidInput, match="there is no model 'delays-jfk'"):
        _apply(stores, SHOP + FAMILY.replace("MODEL", "delays-jfk"))
