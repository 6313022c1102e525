from __future__ import annotations

from pathlib import Path

import pytest

from seamline.domain.errors import InvalidInput
from seamline.register.pipelines.lock_file import (
    LockedPipeline,
    parse_lock,
    read_lock_file,
    update_lock,
    write_lock,
    write_lock_file,
)

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64
ENTRY = f'[[pipeline]]\nname = "a"\ntag = "1.0.0"\ndigest = "{ONE}"\n'


def test_there_and_back(tmp_path: Path) -> None:
    locked = [
        LockedPipeline("b", "team/two", "1.0.0", ONE),
        LockedPipeline("a", "default/main", "latest", TWO, ONE),
    ]
    path = tmp_path / "pipelines.lock"
    write_lock_file(path, locked)
    assert sorted(read_lock_file(path)) == sorted(locked)
    assert path.read_text() == write_lock(reversed(locked))
    assert [one.name for one in tmp_path.iterdir()] == ["pipelines.lock"]


def test_what_is_locked_anew_replaces_its_entry() -> None:
    old = parse_lock(ENTRY + ENTRY.replace('"a"', '"b"'))
    new = LockedPipeline("a", "default/main", "1.1.0", TWO)
    assert {(one.name, one.tag) for one in update_lock(old, [new])} == {
        ("a", "1.1.0"),
        ("b", "1.0.0"),
    }


def test_names_are_those_of_the_registry_and_the_repository_may_be_left_out() -> None:
    (one,) = parse_lock(ENTRY.replace('"a"', '"Team_A"'))
    assert (one.name, one.repository, one.interface_digest) == ("team-a", "default/main", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[pipeline", "no TOML"),
        ("version = 2\n" + ENTRY, "version"),
        ("pipeline = 3", "list"),
        ("[[pipeline]]\nname = 'a'\n", "digest, tag"),
        (ENTRY + "colour = 'red'\n", "colour"),
        (ENTRY + "interface_digest = 3\n", "no table of texts"),
        (ENTRY.replace('"a"', '"../../a"'), "../../a"),
        (ENTRY.replace("1.0.0", "a b"), "a b"),
        (ENTRY + 'repository = "../x/y"\n', "../x/y"),
        (ENTRY.replace(ONE, "sha256:12"), "sha256:12"),
        (ENTRY + ENTRY, "more than once"),
    ],
)
def test_what_is_no_lock_file(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why.replace(".", r"\.")) as refused:
        parse_lock(text, "pipelines.lock")
    assert "pipelines.lock" in str(refused.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nothing\.lock cannot be read"):
        read_lock_file(tmp_path / "nothing.lock")
