"""Whose a name is, in both registries."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from seamline.domain.errors import Forbidden, InvalidInput, NotFound
from seamline.domain.states import Role
from seamline.register.owners import PACKAGES, Owner, hand_over, list_owned_names, may_use
from seamline.register.packages import index
from seamline.register.pipelines import catalogue, publishing
from seamline.register.pipelines.contracts import no_releases
from seamline.store.facts import read_facts
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Scope, Verb
from seamline.trust.teams import add_team

DEVELOPER = frozenset({Role.DEVELOPER})
ADA = Principal("ada", DEVELOPER, frozenset({"arrivals"}))
ANN = Principal("ann", DEVELOPER, frozenset({"arrivals"}))
PIA = Principal("pia", DEVELOPER, frozenset({"punctuality"}))
TOM = Principal("tom", DEVELOPER)
BOTH = Principal("bo", DEVELOPER, frozenset({"arrivals", "punctuality"}))
ROOT = Principal("root", frozenset({Role.ADMIN}))


def ir(note: str = "", name: str = "late_arrivals") -> bytes:
    return (
        f"# {note}\nschemaVersion: 2.1.0\npipelineInfo: {{name: {name}}}\nroot: {{dag: {{}}}}\n"
    ).encode()


def publish(stores: Stores, who: Principal, note: str = "", repository: str = "") -> str:
    version = publishing.publish_pipeline(
        stores, ir(note), by=who.name, who=who, repository=repository or "default/main"
    )
    return version.digest


def upload(stores: Stores, who: Principal, version: str) -> None:
    files = {
        "team_tools.py": "x = 1\n",
        f"team_tools-{version}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: team-tools\nVersion: {version}\n"
        ),
        f"team_tools-{version}.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        record += f"{path},sha256={digest.decode().rstrip('=')},{len(text)}\n"
    listed = f"team_tools-{version}.dist-info/RECORD"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, listed: f"{record}{listed},,\n"}.items():
            archive.writestr(path, text)
    index.publish_package(
        stores,
        f"team_tools-{version}-py3-none-any.whl",
        buffer.getvalue(),
        by=who.name,
        who=who,
    )


@pytest.mark.parametrize(
    ("owner", "who", "expected"),
    [
        (Owner("ada", "arrivals"), ANN, True),
        (Owner("ada", "arrivals"), PIA, False),
        (Owner("ada", "arrivals"), TOM, False),
        (Owner("ada", "arrivals"), ROOT, True),
        # Whoever published it first and left the team since.
        (Owner("ada", "arrivals"), Principal("ada", DEVELOPER), False),
        (Owner("tom", None), TOM, True),
        (Owner("tom", None), ADA, False),
        (Owner("tom", None), ROOT, True),
        (
            Owner("tom", None),
            Principal("root", ROOT.roles, scope=Scope(verbs=frozenset({Verb.PUBLISH}))),
            False,
        ),
        (
            Owner("tom", "punctuality"),
            Principal("root", ROOT.roles, frozenset({"arrivals"}), Scope(team="arrivals")),
            False,
        ),
        (Owner("x", "punctuality"), BOTH, True),
        (
            Owner("x", "punctuality"),
            Principal("bo", DEVELOPER, BOTH.teams, Scope(team="arrivals")),
            False,
        ),
    ],
)
def test_who_may_use_a_name(owner: Owner, who: Principal, expected: bool) -> None:
    assert may_use(owner, who) is expected


def test_a_pipeline_name_belongs_to_the_team_that_published_first(stores: Stores) -> None:
    digest = publish(stores, ADA)
    publish(stores, ANN, "2")
    refusal = r"late-arrivals belongs to the team arrivals; pia \(punctuality\) cannot"
    with pytest.raises(Forbidden, match=refusal) as caught:
        publish(stores, PIA, "3")
    assert "seamline team give" in caught.value.next_step
    with pytest.raises(Forbidden):
        publishing.tag_pipeline(stores, "late-arrivals", digest, "x", by="pia", who=PIA)
    publishing.tag_pipeline(stores, "late-arrivals", digest, "x", by="ann", who=ANN)
    with pytest.raises(Forbidden):
        publishing.delete_tag(stores, "late-arrivals", "x", by="pia", who=PIA)
    for delete in (
        lambda: publishing.delete_version(
            stores, "late-arrivals", digest, by="pia", who=PIA, releases_of=no_releases
        ),
        lambda: publishing.delete_package(
            stores, "late-arrivals", by="pia", who=PIA, releases_of=no_releases
        ),
    ):
        with pytest.raises(Forbidden):
            delete()
    assert len(catalogue.list_versions(stores, "late-arrivals")) == 2
    publish(stores, PIA, repository="punctuality/main")  # of one repository, not of all
    # A name that was given up stays whose it was: nobody slips other bytes under it.
    publishing.delete_package(stores, "late-arrivals", by="ada", who=ADA, releases_of=no_releases)
    with pytest.raises(Forbidden):
        publish(stores, PIA, "4")
    with stores.db.read() as connection:
        owned = read_facts(connection, kinds=["name.owned"])
    assert [(one.by, one.subject, one.body["registry"], one.body["team"]) for one in owned] == [
        ("ada", "late-arrivals", "default/main", "arrivals"),
        ("pia", "late-arrivals", "punctuality/main", "punctuality"),
    ]
    assert {one.body["before"] for one in owned} == {None}


def test_a_package_name_belongs_to_the_team_that_published_first(stores: Stores) -> None:
    upload(stores, ADA, "1.0")
    upload(stores, ANN, "1.1")
    with pytest.raises(Forbidden, match="team-tools belongs to the team arrivals; pia"):
        upload(stores, PIA, "1.2")
    upload(stores, ROOT, "1.3")
    assert [file.version for file in index.list_package_files(stores, "dataops", "team-tools")] == [
        "1.0",
        "1.1",
        "1.3",
    ]


def test_people_without_a_team_own_what_they_published(stores: Stores) -> None:
    publish(stores, TOM)
    upload(stores, TOM, "1.0")
    for forbidden in (lambda: publish(stores, ADA, "2"), lambda: upload(stores, ADA, "1.1")):
        with pytest.raises(Forbidden, match="belongs to tom; ada"):
            forbidden()
    assert [one.to_json()["team"] for one in list_owned_names(stores)] == [None, None]


def test_whoever_is_in_two_teams_says_for_which(stores: Stores) -> None:
    with pytest.raises(InvalidInput, match="bo belongs to arrivals and punctuality") as caught:
        publish(stores, BOTH)
    assert "seamline token issue bo --team" in caught.value.next_step
    assert catalogue.list_packages(stores) == []
    for_one = Principal("bo", DEVELOPER, BOTH.teams, Scope(team="punctuality"))
    publish(stores, for_one)
    publish(stores, BOTH, "2")  # it is clear now
    with pytest.raises(Forbidden):
        publish(stores, ADA, "3")


def test_an_admin_hands_names_over(stores: Stores) -> None:
    publish(stores, TOM)
    upload(stores, ADA, "1.0")
    with stores.db.transaction() as tx:
        add_team(tx, stores.facts, stores.clock, "punctuality", by="root")
    for registry, name in (("default/main", "Late_Arrivals"), (PACKAGES, "Team.Tools")):
        for _ in range(2):
            given = hand_over(stores, registry, name, "punctuality", by="root")
        assert given.owner.team == "punctuality"
    publish(stores, PIA, "2")
    upload(stores, PIA, "1.1")
    for forbidden in (lambda: publish(stores, TOM, "3"), lambda: upload(stores, ADA, "1.2")):
        with pytest.raises(Forbidden, match="team punctuality"):
            forbidden()
    with stores.db.read() as connection:
        told = [one.body for one in read_facts(connection, kinds=["name.owned"])]
    assert [(one["registry"], one["before"]) for one in told] == [
        (PACKAGES, None),
        ("default/main", "tom"),
        (PACKAGES, "arrivals"),
    ]
    names = list_owned_names(stores, "punctuality")
    assert [(one.registry, one.name) for one in names] == [
        (PACKAGES, "team-tools"),
        ("default/main", "late-arrivals"),
    ]
    with pytest.raises(NotFound, match="Did you mean team-tools"):
        hand_over(stores, PACKAGES, "team-tool", "punctuality", by="root")
    with pytest.raises(NotFound, match="Did you mean punctuality"):
        hand_over(stores, PACKAGES, "team-tools", "punctuallity", by="root")


def test_of_two_who_publish_first_at_the_same_instant_one_is_first(stores: Stores) -> None:
    start = threading.Barrier(2)

    def try_it(who: Principal) -> str:
        start.wait()
        try:
            publish(stores, who, note=who.name)
        except Forbidden as refused:
            return refused.message
        return ""

    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(try_it, (ADA, PIA)))
    [name] = list_owned_names(stores)
    assert said.count("") == 1
    assert f"belongs to the team {name.owner.team}" in max(said)
    [version] = catalogue.list_versions(stores, "late-arrivals")
    assert version.published_by == name.owner.person
