"""Yanks, and publications of one name at the same instant, on both databases."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from seamline.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, SeamlineError
from seamline.domain.states import Role
from seamline.register.packages import index, yanks
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores
from seamline.trust.roles import Principal, Scope

ADA = Principal("ada", frozenset({Role.DEVELOPER}))
BOB = Principal("bob", frozenset({Role.DEVELOPER}))
ROOT = Principal("root", frozenset({Role.ADMIN}))


def wheel(name: str, version: str, source: str = "x = 1\n") -> bytes:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
        record += f"{path},sha256={digest.decode().rstrip('=')},{len(text)}\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def publish(stores: Stores, version: str, by: str = "ada", source: str = "x = 1\n") -> str:
    filename = f"tools-{version}-py3-none-any.whl"
    data = wheel("tools", version, source)
    return index.publish_package(stores, filename, data, by=by).digest


def test_a_yank_and_its_undoing_are_facts(stores: Stores) -> None:
    publish(stores, "1.0")
    publish(stores, "1.1")
    states = [index.index_state(stores, "dataops", "tools")]
    found = yanks.yank_version(stores, "Tools", "1.1.0", "flips labels", who=ADA)
    assert (found.version, found.environments) == ("1.1", ("dataops",))
    assert yanks.yanks_of(stores, "tools") == {"1.1": found.yank}
    states.append(index.index_state(stores, "dataops", "tools"))
    assert yanks.yank_version(stores, "tools", "1.1", "flips labels", who=ROOT) == found
    assert index.index_state(stores, "dataops", "tools") == states[-1]
    again = yanks.yank_version(stores, "tools", "1.1", "flips all labels", who=ROOT)
    assert again.yank is not None
    assert (again.yank.reason, again.yank.by) == ("flips all labels", "root")
    states.append(index.index_state(stores, "dataops", "tools"))
    assert yanks.unyank_version(stores, "tools", "1.1", who=ADA).yank is None
    assert yanks.unyank_version(stores, "tools", "1.1", who=ADA).yank is None
    assert yanks.yanks_of(stores, "tools") == {}
    states.append(index.index_state(stores, "dataops", "tools"))
    assert len(set(states)) == len(states)
    with stores.db.read() as connection:
        facts = read_facts(connection, kinds=["package.yanked", "package.unyanked"])
        assert verify_chain(connection).broken is None
    assert [(one.kind, one.subject, one.by) for one in facts] == [
        ("package.yanked", "tools", "ada"),
        ("package.yanked", "tools", "root"),
        ("package.unyanked", "tools", "ada"),
    ]
    assert facts[0].body == {"name": "tools", "version": "1.1", "reason": "flips labels"}


def test_what_cannot_be_yanked(sqlite_stores: Stores) -> None:
    publish(sqlite_stores, "1.0")
    for who in (BOB, Principal("ada", ADA.roles, scope=Scope(team="others"))):
        for change in (
            lambda who=who: yanks.yank_version(sqlite_stores, "tools", "1.0", "", who=who),
            lambda who=who: yanks.unyank_version(sqlite_stores, "tools", "1.0", who=who),
        ):
            with pytest.raises(Forbidden, match="belongs to ada"):
                change()
    elsewhere = Principal("ada", ADA.roles, scope=Scope(environments=frozenset({"staging"})))
    with pytest.raises(Forbidden, match="staging"):
        yanks.yank_version(sqlite_stores, "tools", "1.0", "", who=elsewhere)
    with pytest.raises(NotFound, match=r"'1\.9'.*1\.0"):
        yanks.yank_version(sqlite_stores, "tools", "1.9", "", who=ADA)
    with pytest.raises(NotFound, match=r"'tool'.*tools"):
        yanks.yank_version(sqlite_stores, "tool", "1.0", "", who=ADA)
    for reason in ("x" * 501, "two\nlines", "\x1b[2J"):
        with pytest.raises(InvalidInput, match="one line"):
            yanks.yank_version(sqlite_stores, "tools", "1.0", reason, who=ADA)
    assert yanks.yanks_of(sqlite_stores, "tools") == {}


def test_a_yank_holds_where_the_version_was_promoted_to(sqlite_stores: Stores) -> None:
    publish(sqlite_stores, "1.0")
    yanks.yank_version(sqlite_stores, "tools", "1.0", "", who=ADA)
    with sqlite_stores.db.transaction() as tx:
        index.admit(tx, sqlite_stores.clock, "staging", "tools", "1.0", by="ada")
    [shown] = yanks.show_package(sqlite_stores, "tools")
    assert shown.environments == ("dataops", "staging")
    assert shown.to_json()["yanked"]["reason"] == ""
    assert [one["filename"] for one in shown.to_json()["files"]] == ["tools-1.0-py3-none-any.whl"]
    [listed] = yanks.list_packages(sqlite_stores)
    assert (listed["name"], listed["newest"], listed["versions"]) == ("tools", "1.0", 1)


def test_one_of_many_wins_at_the_same_instant(stores: Stores) -> None:
    """A version, spelt in different ways and as different builds; and a name nobody had."""
    versions = ("1.0", "1.0.0", "1", "1.0-1")
    start = Barrier(len(versions))

    def attempt(number: int) -> SeamlineError | None:
        by = f"person-{number}" if number > 1 else "ada"
        start.wait()
        data = wheel("tools", versions[number].split("-")[0], f"x = {number}\n")
        filename = f"tools-{versions[number]}-py3-none-any.whl"
        try:
            index.publish_package(stores, filename, data, by=by)
        except SeamlineError as error:
            return error
        return None

    with ThreadPoolExecutor(len(versions)) as pool:
        ended = list(pool.map(attempt, range(len(versions))))
    [winner] = [number for number, error in enumerate(ended) if error is None]
    assert {type(error) for error in ended if error} <= {Conflict, Forbidden}
    [file] = index.list_package_files(stores, "dataops", "tools")
    assert file.filename == f"tools-{versions[winner]}-py3-none-any.whl"
    assert f"x = {winner}".encode() in index.read_package_file(stores, file)
    with stores.db.read() as connection:
        assert len(read_facts(connection, kinds=["package.published"])) == 1
        assert verify_chain(connection).broken is None


def test_what_is_refused_leaves_no_bytes(sqlite_stores: Stores) -> None:
    publish(sqlite_stores, "1.0")
    blobs = sqlite_stores.blobs.root
    before = sorted(blobs.rglob("*"))
    for by, version, error in (("ada", "1.0", Conflict), ("bob", "1.1", Forbidden)):
        with pytest.raises(error):
            publish(sqlite_stores, version, by, "x = 2\n")
    assert sorted(blobs.rglob("*")) == before


def test_sending_the_right_bytes_again_mends_a_file(sqlite_stores: Stores) -> None:
    digest = publish(sqlite_stores, "1.0")
    path = sqlite_stores.blobs.path_of(digest)
    path.unlink()
    assert publish(sqlite_stores, "1.0") == digest
    assert sqlite_stores.blobs.get(digest)
