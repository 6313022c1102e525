"""[hooks.NAME]: what is refused, with its line; who may declare it; what applying does."""

from __future__ import annotations

import pytest

from seamline.domain.errors import Forbidden, InvalidInput, Refused
from seamline.domain.states import Role
from seamline.hooks.listing import list_hooks
from seamline.project.plan import apply_project
from seamline.promote.environments import apply_policies
from seamline.promote.policy import DEFAULT_POLICIES
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Scope

HOOK = """
project = "platform"
team = "platform"

[hooks.ci]
url = "https://ci.example.com/seamline"
events = ["promotion.*"]
secret = "production/ci"
"""


@pytest.fixture
def workspace(sqlite_stores: Stores) -> Stores:
    with sqlite_stores.db.transaction() as tx:
        apply_policies(tx, sqlite_stores.facts, DEFAULT_POLICIES, by="root")
    return sqlite_stores


def apply(stores: Stores, text: str, who: Principal | None = None) -> list[str]:
    plan = apply_project(stores, text, "seamline.toml", by="ada", who=who)
    return [change.sentence() for change in plan.changes]


def hooks(stores: Stores) -> list[tuple[str, str]]:
    with stores.db.read() as connection:
        return [(one["name"], one["url"]) for one in list_hooks(connection)]


def test_applying_makes_changes_and_ends_a_hook(workspace: Stores) -> None:
    assert apply(workspace, HOOK) == ["+ hooks.ci"]
    assert hooks(workspace) == [("ci", "https://ci.example.com/seamline")]
    moved = HOOK.replace("/seamline", "/other")
    assert apply(workspace, moved) == [
        "~ hooks.ci: url: https://ci.example.com/seamline → https://ci.example.com/other"
    ]
    assert hooks(workspace) == [("ci", "https://ci.example.com/other")]
    assert apply(workspace, 'project = "platform"\nteam = "platform"') == ["- hooks.ci"]
    assert hooks(workspace) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("promotion.*", "promotion.movde", 7, "Did you mean promotion.moved?"),
        ("promotion.*", "task.ended", 7, "There is no governance fact 'task.ended'"),
        ('["promotion.*"]', "[]", 7, "names nothing to tell"),
        ("https://ci", "ftp://ci", 6, "no address to send to"),
        ("https://ci.example.com", "https://", 6, "no address to send to"),
        ("https://", "https://ann:secret@", 6, "holds a name or a password"),
        ("production/ci", "ci", 8, "Write ENVIRONMENT/NAME"),
        ("production/ci", "prodction/ci", 8, "Did you mean production?"),
        ('secret = "production/ci"', 'secert = "x"', 8, "Did you mean secret?"),
        ('secret = "production/ci"', "", 5, "lacks the key 'secret'"),
        ('/ci"\n', '/ci"\ntimeout = "61s"\n', 9, "60s or less"),
        ('/ci"\n', '/ci"\ntimeout = "0s"\n', 9, "60s or less"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(
    workspace: Stores, old: str, new: str, line: int, words: str
) -> None:
    assert old in HOOK
    with pytest.raises(InvalidInput) as refused:
        apply(workspace, HOOK.replace(old, new))
    assert str(refused.value).startswith(f"seamline.toml:{line}: ")
    assert words in str(refused.value)
    assert "secret@" not in str(refused.value)
    assert hooks(workspace) == []


def test_a_hook_is_one_projects_and_no_teams(workspace: Stores) -> None:
    apply(workspace, HOOK)
    with pytest.raises(Refused, match=r"hooks\.ci belongs to the project 'platform'"):
        apply(workspace, HOOK.replace('project = "platform"', 'project = "other"'))
    limited = Principal(
        "ada", frozenset({Role.ADMIN}), frozenset({"platform"}), Scope(team="platform")
    )
    with pytest.raises(Forbidden, match="whose hooks are every team's"):
        apply(workspace, HOOK.replace("[hooks.ci]", "[hooks.other]"), limited)
