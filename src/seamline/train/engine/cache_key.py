"""What a task's result depends on: the parts of its cache key, as JSON that people can compare.

The name of the environment, what is run (source or command, image, environment variables), the
requirement set and the index that it names, the values of its parameters, the bytes and metadata
of its artifacts, and which outputs it declares. A custom key (`set_caching_options(cache_key=…)`)
stands for all of that, within its component.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from seamline.domain.digests import Digest, digest_of
from seamline.train.artifacts import Artifact
from seamline.train.attempts.requirements import requirement_set
from seamline.train.ir.claims import makes_claims
from seamline.train.ir.lightweight import PythonFunction
from seamline.train.ir.types import Component, ContainerExecutor
from seamline.train.plan.sources import ArtifactValue
from seamline.train.plan.types import PlannedTask

#: Longer values stand in the parts by their digest.
_SHOWN_CHARACTERS = 500
#: In a command or its environment: their values differ in every run.
_RUN_PLACEHOLDERS = ("{{$.pipeline_", "{{$.workspace_path")


class KeyMaker:
    """Of one run: remembers what does not differ between two tasks of one component."""

    def __init__(
        self,
        environment: str,
        pinned: Callable[[ContainerExecutor], str] = lambda executor: executor.image,
    ) -> None:
        """`pinned`: the image that its task is started from."""
        self._environment = environment
        self._pinned = pinned
        self._static: dict[str, dict[str, Any]] = {}

    def parts(
        self,
        task: PlannedTask,
        parameters: Mapping[str, Any],
        artifacts: Mapping[str, ArtifactValue],
    ) -> dict[str, Any]:
        """Equal parts: the result of one task is that of the other."""
        if task.cache_key:
            return {
                "environment": self._environment,
                "component": task.component.name,
                "custom_key": task.cache_key,
            }
        static = self._static.get(task.component.name)
        if static is None:
            static = {
                "environment": self._environment,
                **_component_parts(task.component, self._pinned),
            }
            self._static[task.component.name] = static
        return {
            **static,
            "parameters": {name: _shown(value) for name, value in sorted(parameters.items())},
            "artifacts": {
                name: [_artifact_part(one) for one in _each(value)]
                for name, value in sorted(artifacts.items())
            },
        }


def key_of(parts: Mapping[str, Any]) -> Digest:
    """
    >>> key_of({"b": 1, "a": 2}) == key_of({"a": 2, "b": 1})
    True
    """
    return digest_of(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def is_repeatable(task: PlannedTask) -> bool:
    """Whether another call with the same inputs gives the same."""
    return not why_not_repeatable(task)


def why_not_repeatable(task: PlannedTask) -> str:
    executor = task.executor
    if not isinstance(executor, ContainerExecutor):
        return "Importers are never taken from the cache: what they point at may have changed."
    if makes_claims(executor.function):
        return "It names a volume claim for its own run."
    # What a Python component is called with holds all of that as values.
    words = () if executor.function else (executor.command, executor.args)
    said = json.dumps([*words, dict(executor.env)])
    if any(placeholder in said for placeholder in _RUN_PLACEHOLDERS):
        return "Its command names its own run or task, so no other result is like it."
    return ""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """What changed between two tasks' parts, as sentences.

    >>> list(differences({"parameters": {"n": "1"}}, {"parameters": {"n": "2"}}))
    ['parameters n: 1 → 2']
    """
    for name in dict.fromkeys([*old, *new]):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            for key in dict.fromkeys([*before, *after]):
                if before.get(key) != after.get(key):
                    yield f"{name} {key}: {_brief(before.get(key))} → {_brief(after.get(key))}"
        else:
            yield f"{name}: {_brief(before)} → {_brief(after)}"


def _component_parts(
    component: Component, pinned: Callable[[ContainerExecutor], str]
) -> dict[str, Any]:
    """The larger pieces by their digests, so that one can say which of them changed."""
    executor = component.body
    assert isinstance(executor, ContainerExecutor)
    function = executor.function
    env = list(executor.env.items())  # in order: later ones may refer to earlier ones
    called = [executor.args, env, _as_dicts(executor.secrets, executor.mounts)]
    if function is None:
        called.append(executor.command)
    return {
        "source": digest_of((function.source if function else "").encode()),
        "function": function.function if function else None,
        "image": pinned(executor),
        "command": digest_of(json.dumps(called, sort_keys=True).encode()),
        "requirements": _requirements_of(function),
        **({"indexes": list(function.index_urls)} if function and function.index_urls else {}),
        "outputs": _outputs_of(component),
    }


def _as_dicts(*groups: Iterable[Any]) -> list[dict[str, Any]]:
    return [asdict(one) for group in groups for one in group]


def _requirements_of(function: PythonFunction | None) -> str | None:
    if function is None:
        return None
    return requirement_set(function).digest


def _outputs_of(component: Component) -> list[str]:
    parameters = [f"{name}: {spec.type}" for name, spec in component.output_parameters.items()]
    artifacts = [f"{name}: {s.schema_title}" for name, s in component.output_artifacts.items()]
    return sorted(parameters + artifacts)


def _artifact_part(artifact: Artifact) -> list[str]:
    return [artifact.digest, artifact.schema_type, _shown(dict(artifact.metadata))]


def _each(value: ArtifactValue) -> tuple[Artifact, ...]:
    return value if isinstance(value, tuple) else (value,)


def _shown(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN_CHARACTERS else digest_of(text.encode())


def _brief(part: Any) -> str:
    text = part if isinstance(part, str) else json.dumps(part)
    return text if len(text) <= 80 else text[:77] + "…"
