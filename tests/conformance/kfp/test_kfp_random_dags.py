"""Random pipelines with random failures: each task ends in exactly the state that it should.

`expect` below is what should come out, written anew from the meaning of KFP's pipelines:

- a task runs when all that it waits for ended well; it fails, or it succeeds;
- what waits for a failure is `upstream_failed`, else what waits for something that was not
  triggered is `not_triggered`; a tolerant one runs however its upstream ended;
- a group or loop that does not open gives all its members its own end; else it has failed when
  anything in it failed, and has succeeded otherwise, also when nothing in it was triggered.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from kfp import dsl

IMAGE = "python:3.11"
feature = pytest.mark.feature
GOOD, LEFT_OUT, BAD = "succeeded", "not_triggered", "upstream_failed"
ALWAYS, NEVER = "always", "never"


@dsl.component(base_image=IMAGE)
def step(witness: str, label: str, fails_on: list, item: int = -1):
    """Leaves its label behind: a witness that does not depend on what the run says of itself."""
    with open(witness, "a") as file:
        file.write(f"{label}\n")
    assert item not in fails_on, f"{label} fails on {item}"


# -- what is generated -------------------------------------------------------------------------
@dataclass
class Node:
    """A task; or what has `nodes`: a condition, a loop, or a nested pipeline."""

    label: str
    kind: str
    #: Siblings that come before it.
    after: tuple[int, ...]
    tolerant: bool
    #: Of a task: the items of the innermost loop on which it fails (-1: outside of loops).
    fails_on: tuple[int, ...] = ()
    #: Of a condition: always, never, or the item on which it holds.
    holds: Any = ALWAYS
    #: Of a loop: how many items.
    count: int = 0
    nodes: tuple["Node", ...] = ()
    #: What the compiler calls it.
    name: str = ""


Nodes = Sequence[Node]


@st.composite
def scopes(draw: st.DrawFn, path: str = "", depth: int = 0, in_loop: bool = False) -> Any:
    nodes = []
    for at in range(draw(st.integers(1, 4 if depth == 0 else 2))):
        label = f"{path}{at}"
        after = draw(st.sets(st.integers(0, at - 1), max_size=2)) if at else set()
        tolerant = bool(after) and draw(st.sampled_from([False, False, False, True]))
        kinds = ["task", "task", "task", "condition", "loop", "pipeline"]
        kind = draw(st.sampled_from(kinds if depth < 2 else ["task"]))
        node = Node(label, kind, tuple(sorted(after)), tolerant)
        if kind == "task":
            fails_on = st.sampled_from([(), (), (), (0,), (1, 2)] if in_loop else [(), (), (-1,)])
            node.fails_on = draw(fails_on)
        elif kind == "condition":
            node.holds = draw(st.sampled_from([ALWAYS, NEVER, *([0, 1] if in_loop else [])]))
        elif kind == "loop":
            node.count = draw(st.integers(0, 3))
        if kind != "task":
            below = (in_loop and kind == "condition") or kind == "loop"
            node.nodes = tuple(draw(scopes(f"{label}-", depth + 1, below)))
        nodes.append(node)
    return nodes


# -- as a pipeline -----------------------------------------------------------------------------
def build(bench: Any, nodes: Nodes) -> bytes:
    """Written with the SDK; what only the IR can say (a task after a group) is added to that."""
    try:
        spec = yaml.safe_load(bench.compile(make_pipeline(nodes, "random")))
    except AssertionError:
        reject()  # The SDK cannot compile some loops in conditions in loops.
    connect(spec, spec["root"]["dag"], nodes)
    return yaml.safe_dump(spec).encode()


def make_pipeline(nodes: Nodes, name: str) -> Any:
    inner = dict(inner_pipelines(nodes))  # made first: the SDK makes one at a time

    @dsl.pipeline(name=name)
    def pipeline(witness: str, yes: str = "yes"):
        write(nodes, inner, witness, yes, None)

    return pipeline


def inner_pipelines(nodes: Nodes) -> Iterator[tuple[str, Any]]:
    for node in nodes:
        if node.kind == "pipeline":
            yield node.label, make_pipeline(node.nodes, f"nested-{node.label}")
        else:
            yield from inner_pipelines(node.nodes)


def write(nodes: Nodes, inner: dict[str, Any], witness: Any, yes: Any, item: Any) -> None:
    for node in nodes:
        if node.kind == "task":
            given = {} if item is None else {"item": item}
            fails_on = list(node.fails_on)
            task = step(witness=witness, label=node.label, fails_on=fails_on, **given)
            node.name = task.name
        elif node.kind == "condition":
            wanted = {ALWAYS: "yes", NEVER: "no"}.get(node.holds)
            held = (yes == wanted) if wanted else (item == node.holds)
            with dsl.If(held) as group:
                write(node.nodes, inner, witness, yes, item)
            node.name = group.name
        elif node.kind == "loop":
            loop = dsl.ParallelFor([0])
            with loop as inner_item:
                write(node.nodes, inner, witness, yes, inner_item)
            node.name = loop.name
        else:
            node.name = inner[node.label](witness=witness).name


def connect(spec: dict, dag: dict, nodes: Nodes) -> None:
    for node in nodes:
        task = dag["tasks"][node.name]
        waits_for = [nodes[at].name for at in node.after]
        task["dependentTasks"] = sorted({*task.get("dependentTasks", ()), *waits_for})
        if node.tolerant:
            policy = task.setdefault("triggerPolicy", {})
            policy["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
        if node.kind == "loop":
            task["parameterIterator"]["items"]["raw"] = str(list(range(node.count)))
        if node.nodes:
            component = spec["components"][task["componentRef"]["name"]]
            connect(spec, component["dag"], node.nodes)


# -- what should come out ----------------------------------------------------------------------
@dataclass
class Expected:
    states: dict[str, str]
    ran: Counter


def expect(
    nodes: Nodes, above: str, item: int, fate: str | None, into: Expected
) -> tuple[bool, dict[int, str]]:
    """Whether anything failed in this scope, and each node's end as the others see it."""
    ends: dict[int, str] = {}
    for at, node in enumerate(nodes):
        own = fate or fate_by_upstream(node, ends)
        ends[at] = expect_node(node, f"{above}{node.name}", item, own, into)
    return any(end == BAD for end in ends.values()), ends


def fate_by_upstream(node: Node, ends: dict[int, str]) -> str | None:
    upstream = {ends[at] for at in node.after}
    if not node.tolerant:
        for end in (BAD, LEFT_OUT):
            if end in upstream:
                return end
    if node.kind == "condition" and node.holds == NEVER:
        return LEFT_OUT
    return None


def expect_node(node: Node, path: str, item: int, fate: str | None, into: Expected) -> str:
    if fate is None and node.kind == "condition" and isinstance(node.holds, int):
        fate = None if item == node.holds else LEFT_OUT
    if node.kind == "task":
        return expect_task(node, path, item, fate, into)
    if node.kind == "loop":
        return expect_loop(node, path, fate, into)
    inner_item = item if node.kind == "condition" else -1
    failed, _ = expect(node.nodes, f"{path}/", inner_item, fate, into)
    into.states[path] = fate or ("failed" if failed else GOOD)
    return fate or (BAD if failed else GOOD)


def expect_task(node: Node, path: str, item: int, fate: str | None, into: Expected) -> str:
    if fate is not None:
        into.states[path] = fate
        return fate
    fails = item in node.fails_on
    into.states[path] = "failed" if fails else GOOD
    into.ran[node.label] += 1
    return BAD if fails else GOOD


def expect_loop(node: Node, path: str, fate: str | None, into: Expected) -> str:
    if fate is not None:
        into.states[path] = fate
        return fate
    failed = False
    for index in range(node.count):
        one_failed, _ = expect(node.nodes, f"{path}[{index}]/", index, None, into)
        into.states[f"{path}[{index}]"] = "failed" if one_failed else GOOD
        failed |= one_failed
    into.states[path] = "failed" if failed else GOOD
    return BAD if failed else GOOD


@feature("Exit handlers and failures", "Random pipelines: every task ends in its one right state")
@settings(
    deadline=None,
    max_examples=20 if settings.default.derandomize else 500,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(nodes=scopes())
def test_kfp_random_pipelines(bench, tmp_path_factory, nodes):
    witness = tmp_path_factory.mktemp("random") / "witness"
    ran = bench.run(build(bench, nodes), {"witness": str(witness)})
    expected = Expected({}, Counter())
    failed, _ = expect(nodes, "", -1, None, expected)
    assert {name: task["state"] for name, task in ran.tasks.items()} == expected.states
    left = witness.read_text().split() if witness.exists() else []
    assert Counter(left) == expected.ran, "what really ran"
    assert (ran.state == "succeeded") is not failed
    event(f"{len(expected.states)} rows, {'failed' if failed else 'succeeded'}")
