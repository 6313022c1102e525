"""Random pipelines in the plainest terms: written as IR, and how each of their nodes has to end.

`Expected` says it again from the meaning of Kubeflow's pipelines, without a look at the engine's
own rules: it recurses over the sketch with every end known, where the engine counts down edges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from seamline.domain.states import RunState, TaskState

#: How a node's end looks to those that wait for it.
GOOD, LEFT_OUT, BAD = "good", "left out", "bad"
#: What the compiler makes of a lightweight component that needs no packages.
_WRITE = 'printf "%s" "$0" > "$program_path/ephemeral_component.py" && kfp.dsl.executor_main'


@dataclass(frozen=True)
class Sketch:
    """A task; with `inner`, a group or a loop."""

    #: Siblings that it waits for, by index.
    after: tuple[int, ...] = ()
    is_tolerant: bool = False
    #: A condition that is true or false or cannot be read, whatever happens.
    holds: bool | str | None = None
    #: A condition on another task: that it has given less than 2.
    reads: int | None = None
    inner: tuple[Sketch, ...] | None = None
    is_loop: bool = False
    #: Of a task: the number that it gives; of a loop: its items.
    count: int = 0
    #: Of a loop: the task that gives its items, instead.
    over: int | None = None
    #: Of a loop: iterations at once; 0: all.
    parallelism: int = 0
    #: Of a task: attempts after the first that fail at most.
    retries: int = 0

    @property
    def is_task(self) -> bool:
        return self.inner is None


Sketches = tuple[Sketch, ...]


# -- drawing -----------------------------------------------------------------------------------
@st.composite
def sketches(draw: st.DrawFn, depth: int = 2, least: int = 1) -> Sketches:
    made: list[Sketch] = []
    for index in range(draw(st.integers(least, 4 if depth == 2 else 3))):
        before = st.integers(0, index - 1)
        after = set(draw(st.lists(before, max_size=2))) if index else set()
        given = [at for at in range(index) if made[at].is_task]
        reads = draw(st.sampled_from([None, None, None, *given]))
        holds = draw(st.sampled_from([*[None] * 5, True, False, "broken"]))
        kind = draw(st.sampled_from(["task", "task", "group", "loop"])) if depth else "task"
        over = draw(st.sampled_from([None, *given])) if kind == "loop" else None
        after |= {at for at in (reads, over) if at is not None}
        made.append(
            Sketch(
                after=tuple(sorted(after)),
                is_tolerant=bool(after) and draw(st.sampled_from([False, False, True])),
                holds=holds if reads is None else None,
                reads=reads,
                inner=None if kind == "task" else draw(sketches(depth - 1, 0)),
                is_loop=kind == "loop",
                count=draw(st.integers(0, 3)),
                over=over,
                parallelism=draw(st.integers(0, 2)) if kind == "loop" else 0,
            )
        )
    return tuple(made)


# -- as a pipeline -----------------------------------------------------------------------------
def write_ir(sketch: Sketches) -> bytes:
    """Tasks are called t0, t1, … wherever they are."""
    components: dict[str, Any] = {}
    root = _write_dag(sketch, "root", components)
    components["comp-leaf"] = {
        "executorLabel": "exec-leaf",
        "inputDefinitions": {
            "parameters": {
                "label": {"parameterType": "STRING", "isOptional": True},
                "item": {"parameterType": "NUMBER_INTEGER", "isOptional": True},
            }
        },
        "outputDefinitions": {
            "parameters": {
                "count": {"parameterType": "NUMBER_INTEGER"},
                "items": {"parameterType": "LIST"},
            }
        },
    }
    container = {
        "image": "python:3.11",
        "command": ["sh", "-ec", _WRITE, "def leaf(): ..."],
        "args": ["--executor_input", "{{$}}", "--function_to_execute", "leaf"],
    }
    return json.dumps(
        {
            "schemaVersion": "2.1.0",
            "pipelineInfo": {"name": "random"},
            "root": {"dag": root},
            "components": components,
            "deploymentSpec": {"executors": {"exec-leaf": {"container": container}}},
        }
    ).encode()


def _write_dag(
    sketch: Sketches, name: str, components: dict[str, Any], is_body: bool = False
) -> dict[str, Any]:
    tasks = {}
    for index, node in enumerate(sketch):
        component = "comp-leaf"
        if node.inner is not None:
            component = f"comp-{name}-{index}"
            inner = _write_dag(node.inner, f"{name}-{index}", components, node.is_loop)
            components[component] = {"dag": inner}
        if node.is_loop:
            item = {"parameterType": "NUMBER_INTEGER"}
            components[component]["inputDefinitions"] = {"parameters": {"item": item}}
        task = {"componentRef": {"name": component}, **_write_task(node)}
        if node.inner is None:  # no two of them are called with the same
            task["inputs"]["parameters"]["label"] = {
                "runtimeValue": {"constant": f"{name}-{index}"}
            }
            if is_body:
                task["inputs"]["parameters"]["item"] = {"componentInputParameter": "item"}
        tasks[f"t{index}"] = task
    return {"tasks": tasks}


def _write_task(node: Sketch) -> dict[str, Any]:
    trigger: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    more: dict[str, Any] = {}
    if node.is_tolerant:
        trigger["strategy"] = "ALL_UPSTREAM_TASKS_COMPLETED"
    if node.holds is not None:
        trigger["condition"] = "inputs.parameter_values['flag']"
        inputs["flag"] = {"runtimeValue": {"constant": node.holds}}
    if node.reads is not None:
        trigger["condition"] = "inputs.parameter_values['n'] < 2"
        inputs["n"] = _output(node.reads, "count")
    if node.retries:
        more["retryPolicy"] = {"maxRetryCount": node.retries, "backoffDuration": "0s"}
    if node.is_loop:
        raw = {"raw": json.dumps(list(range(node.count)))}
        if node.over is not None:
            inputs["items"] = _output(node.over, "items")
            raw = {"inputParameter": "items"}
        more["parameterIterator"] = {"items": raw, "itemInput": "item"}
        more["iteratorPolicy"] = {"parallelismLimit": node.parallelism}
    return {
        "dependentTasks": [f"t{at}" for at in node.after],
        "triggerPolicy": trigger,
        "inputs": {"parameters": inputs},
        **more,
    }


def _output(task: int, key: str) -> dict[str, Any]:
    return {"taskOutputParameter": {"producerTask": f"t{task}", "outputParameterKey": key}}


# -- how it has to end -------------------------------------------------------------------------
@dataclass
class Fate:
    """How one node has to end."""

    path: str
    node: Sketch
    state: TaskState
    #: As others see it.
    end: str
    #: What it waited for, and what it is in.
    after: list[Fate]
    above: Fate | None
    below: list[Fate] = field(default_factory=list)
    #: Of a task: it was called.
    has_run: bool = False

    def lineage(self) -> Iterator[Fate]:
        """Itself, and all that it is in."""
        fate: Fate | None = self
        while fate is not None:
            yield fate
            fate = fate.above

    def under(self) -> Iterator[Fate]:
        yield self
        for one in self.below:
            yield from one.under()

    def waited_for(self) -> Iterator[Fate]:
        """Everything that had to end before it could begin."""
        for holder in self.lineage():
            for one in holder.after:
                yield from one.under()
                yield from one.waited_for()

    @property
    def is_tolerant(self) -> bool:
        """By itself, or by what it is in."""
        return any(holder.node.is_tolerant for holder in self.lineage())


class Expected:
    """Of a run under the policy *slow*."""

    def __init__(self, sketch: Sketches, fails: Callable[[str], bool]) -> None:
        self._fails = fails
        self.fates: dict[str, Fate] = {}
        self.top = self._dag(sketch, "", None, None)

    @property
    def states(self) -> dict[str, str]:
        return {path: fate.state.value for path, fate in self.fates.items()}

    def run_state(self) -> RunState:
        """Partially failed: something succeeded that nothing that failed has waited for."""
        if not any(fate.end is BAD for fate in self.top):
            return RunState.SUCCEEDED
        failed = [fate for fate in self.fates.values() if fate.state is TaskState.FAILED]
        used_up = {one.path for fate in failed for one in fate.waited_for()}
        is_partial = any(
            fate.node.is_task
            and fate.end is GOOD
            and not fate.is_tolerant
            and fate.path not in used_up
            for fate in self.fates.values()
        )
        return RunState.PARTIALLY_FAILED if is_partial else RunState.FAILED

    def _dag(
        self, sketch: Sketches, prefix: str, above: Fate | None, end: str | None
    ) -> list[Fate]:
        """`end`: that of the group, where it does not open."""
        fates: list[Fate] = []
        for index, node in enumerate(sketch):
            after = [fates[at] for at in node.after]
            path = f"{prefix}t{index}"
            state = self._closed(node, after, fates, end)
            fate = Fate(path, node, TaskState.SUCCEEDED, GOOD, after, above)
            self.fates[path] = fate
            if state is None:
                self._open(fate, fates)
            else:
                fate.state = state
                fate.end = LEFT_OUT if state is TaskState.NOT_TRIGGERED else BAD
                if node.inner is not None and not node.is_loop:
                    fate.below = self._dag(node.inner, f"{path}/", fate, fate.end)
            fates.append(fate)
        return fates

    def _closed(
        self, node: Sketch, after: Sequence[Fate], fates: Sequence[Fate], end: str | None
    ) -> TaskState | None:
        """How it ends without being opened; None: it is."""
        ends = {end} if end else set() if node.is_tolerant else {one.end for one in after}
        if BAD in ends:
            return TaskState.UPSTREAM_FAILED
        if LEFT_OUT in ends:
            return TaskState.NOT_TRIGGERED
        if node.holds == "broken":
            return TaskState.FAILED
        if node.reads is not None and fates[node.reads].end is not GOOD:
            return TaskState.FAILED
        is_held = node.holds is False or (
            node.reads is not None and fates[node.reads].node.count >= 2
        )
        return TaskState.NOT_TRIGGERED if is_held else None

    def _open(self, fate: Fate, fates: Sequence[Fate]) -> None:
        node, path = fate.node, fate.path
        if node.inner is None:
            fate.has_run = True
            fate.end = BAD if self._fails(path) else GOOD
        elif not node.is_loop:
            fate.below = self._dag(node.inner, f"{path}/", fate, None)
        elif node.over is not None and fates[node.over].end is not GOOD:
            fate.end = BAD
        else:
            self._repeat(fate, fates[node.over].node.count if node.over is not None else node.count)
        if any(one.end is BAD for one in fate.below):
            fate.end = BAD
        fate.state = TaskState.FAILED if fate.end is BAD else TaskState.SUCCEEDED

    def _repeat(self, loop: Fate, count: int) -> None:
        for index in range(count):
            path = f"{loop.path}[{index}]"
            iteration = Fate(path, Sketch(inner=()), TaskState.SUCCEEDED, GOOD, [], loop)
            self.fates[path] = iteration
            loop.below.append(iteration)
            iteration.below = self._dag(loop.node.inner or (), f"{path}/", iteration, None)
            if any(one.end is BAD for one in iteration.below):
                iteration.end, iteration.state = BAD, TaskState.FAILED
