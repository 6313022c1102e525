"""kill -9 at each line of setting and deleting a secret: the store is what the facts say.

A driver process forks one child per moment, so that a moment costs milliseconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import SystemClock
from seamline.domain.trust_facts import SecretDeleted, SecretSet
from seamline.store.facts import read_facts, verify_chain
from seamline.store.stores import Stores, open_stores
from seamline.trust.secrets import SecretKind, delete_keys, list_secrets, read_values, set_values

DRIVER = """
import json, os, signal, sys
from pathlib import Path
from seamline.domain.clock import SystemClock
from seamline.store.stores import open_stores
from seamline.trust.secrets import SecretKind, delete_keys, set_values

PARTS = ("trust/secrets.py", "trust/sealing.py", "store/facts.py", "store/database.py")

def die_at(moment):
    left = moment
    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.endswith(PARTS):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)

def act(what, key, moment):
    stores = open_stores(Path(sys.argv[1]), SystemClock())
    die_at(moment)
    if what == "set":
        set_values(stores, "dataops", SecretKind.SECRET, "db", {key: key.encode()}, by="ada")
    else:
        keys = None if key == "*" else [key]
        delete_keys(stores, "dataops", SecretKind.SECRET, "db", keys, by="ada")
    sys.settrace(None)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act(*json.loads(line))
            code = 0
        finally:
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
Act = Callable[..., int]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def stores(root: Path) -> Iterator[Stores]:
    opened = open_stores(root, SystemClock())
    yield opened
    opened.db.close()


@pytest.fixture
def act(root: Path) -> Iterator[Act]:
    """act("set", key, moment) → the exit code of the process that did it; -9 when it was killed."""
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdin is not None
    assert driver.stdout is not None

    def send(*order: Any) -> int:
        print(json.dumps(order), file=driver.stdin, flush=True)
        return int(driver.stdout.readline())

    yield send
    driver.stdin.close()
    assert driver.wait(120) == 0
    driver.stdout.close()


def told(stores: Stores) -> set[str]:
    """The keys that there are, if the facts are right."""
    keys: set[str] = set()
    with stores.db.read() as connection:
        assert verify_chain(connection).broken is None
        for fact in read_facts(connection, kinds=[SecretSet.kind, SecretDeleted.kind]):
            named = set(fact.body["keys"])
            keys = keys | named if fact.kind == SecretSet.kind else keys - named
    return keys


def kept(stores: Stores) -> set[str]:
    """The keys that there are; each has its value."""
    found = list_secrets(stores, "dataops")
    if not found:
        return set()
    values = read_values(stores, "dataops", SecretKind.SECRET, "db")
    assert values == {key: key.encode() for key in values}
    assert {one.key for one in found[0].keys} == set(values)
    return set(values)


@pytest.mark.parametrize("what", ["set the first", "set another", "delete one", "delete all"])
def test_killed_at_any_line(stores: Stores, act: Act, soak: bool, what: str) -> None:
    killed = 0
    for moment in range(1, 1000, 1 if soak else 6):
        order = {"delete one": ("delete", "goes"), "delete all": ("delete", "*")}.get(
            what, ("set", "comes")
        )
        if what != "set another" and kept(stores):
            delete_keys(stores, "dataops", SecretKind.SECRET, "db", by="ada")
        if what != "set the first":
            values = {"stays": b"stays", "goes": b"goes"}
            set_values(stores, "dataops", SecretKind.SECRET, "db", values, by="ada")
        before = told(stores)
        code = act(*order, moment)
        assert code in (0, -9), moment
        after = told(stores)
        assert kept(stores) == after, moment
        whole = before | {order[1]} if order[0] == "set" else before - {order[1]}
        assert after in (before, set() if order[1] == "*" else whole), moment
        if code == 0:
            break
        killed += 1
    assert killed > (60 if soak else 10)
    assert act("set", "last", 0) == 0
    left = [path for path in (stores.root / "secrets").rglob("*") if path.is_file()]
    assert len(left) == 1, "what the killed ones left is gone"
    assert not list(stores.root.rglob("*.partial"))
