"""A pipeline in a loop over scenarios is known again by doing it again, and by nothing less."""

# No postponed annotations here: the KFP SDK reads those of its components.

import json
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

from seamline.train.scenarios.loop import with_scenarios
from seamline.train.scenarios.origin import find_origin, read_loop

ITEMS = [{"origin": "JFK", "days": 1.0}, {"origin": "LGA", "days": 2.5}]


@dsl.component(base_image="python:3.11")
def fit(origin: str, days: float) -> str:
    return f"{origin} {days}"


@dsl.pipeline(name="fit-one", description="One line.\n2 scenarios from memory.")
def fit_one(origin: str, days: float = 7):
    fit(origin=origin, days=days)


@pytest.fixture
def ir(tmp_path: Path) -> bytes:
    path = tmp_path / "one.yaml"
    compiler.Compiler().compile(fit_one, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("source", ["", "datasets://flights@7"])
def test_the_origin_is_found_among_others(ir: bytes, source: str) -> None:
    other = ir.replace(b"One line", b"Two lines")
    looped = with_scenarios(ir, ITEMS, source=source)
    loop = read_loop(looped)
    assert loop is not None
    assert loop.prefix == "scenarios/fit-one/"
    assert list(loop.items) == ITEMS
    assert find_origin(looped, loop, [other, ir]) == ir
    assert find_origin(looped, loop, [other]) is None
    assert find_origin(looped, loop, [b"{}", looped]) is None


def test_a_loop_that_was_altered_has_no_origin(ir: bytes) -> None:
    looped = with_scenarios(ir, ITEMS)
    for altered in (
        looped.replace(b"return f", b"return  f"),
        looped.replace(b"enableCache: true", b"enableCache: false", 1),
        looped + b"\n",
    ):
        assert altered != looped
        loop = read_loop(altered)
        assert loop is not None
        assert find_origin(altered, loop, [ir]) is None


def test_what_is_no_loop_of_ours(ir: bytes) -> None:
    assert read_loop(ir) is None
    spec = yaml.safe_load(with_scenarios(ir, ITEMS))
    loop = spec["root"]["dag"]["tasks"]
    for raw in ("[1, 2]", "{}", "no JSON"):
        loop["scenarios"]["parameterIterator"]["items"]["raw"] = raw
        assert read_loop(json.dumps(spec).encode()) is None
    loop["scenarios"]["parameterIterator"]["items"]["raw"] = "[{}]"
    loop["each"] = loop.pop("scenarios")
    assert read_loop(json.dumps(spec).encode()) is None
