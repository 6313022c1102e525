"""A release's packages, each installed and loaded where nothing else was installed before."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamline.app.platform import Platform
from seamline.domain.digests import digest_of
from seamline.domain.durations import parse_duration_s, say_duration
from seamline.domain.errors import DigestMismatch, InvalidInput, Unavailable
from seamline.promote.gate_rules import InfrastructureRule
from seamline.promote.release import Pin
from seamline.register.models.catalogue import ModelVersion, verify_model_version
from seamline.runtime.commands import Command, command_task
from seamline.runtime.environments import PythonEnvironment
from seamline.runtime.requirements import RequirementSet
from seamline.runtime.tasks import Limits, TaskEnd, TaskOutcome
from seamline.serve.workers import probe_main, worker_main
from seamline.serve.workers.interpreter import FIXED_VARIABLES

_MB = 1_000_000


@dataclass(frozen=True)
class Proof:
    """What became of one package; `problem` is empty where it loaded and its sample rows were
    answered as when it was packaged."""

    pin: Pin
    requirements: str
    lock: tuple[str, ...] = ()
    samples: int = 0
    load_s: float = 0.0
    peak_bytes: int = 0
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "package": self.pin.name,
            "version": self.pin.version,
            "digest": self.pin.digest,
            "requirements": self.requirements,
            "lock": list(self.lock),
            "lock_digest": digest_of("\n".join(self.lock).encode()),
            "samples": self.samples,
            "load_s": self.load_s,
            "peak_bytes": self.peak_bytes,
            "problem": self.problem,
        }


def prove_packages(
    platform: Platform, pins: Sequence[Pin], rule: InfrastructureRule
) -> Iterator[Proof]:
    """One environment for each requirement set. Raises Unavailable where the machinery breaks: no
    package index, no process, no end in time."""
    groups: dict[RequirementSet, list[tuple[Pin, ModelVersion]]] = {}
    for pin in pins:
        found = _verified(platform, pin)
        reqs = RequirementSet.of(found.document["requirements"])
        groups.setdefault(reqs, []).append((pin, found))
    for reqs, members in groups.items():
        with _folder(platform) as folder:
            wheels = [_laid_out(platform, pin, found, folder) for pin, found in members]
            yield from _prove_group(platform, reqs, members, wheels, folder, rule)


def _prove_group(
    platform: Platform,
    reqs: RequirementSet,
    members: Sequence[tuple[Pin, ModelVersion]],
    wheels: Sequence[Path],
    folder: Path,
    rule: InfrastructureRule,
) -> Iterator[Proof]:
    timeout_s = parse_duration_s(rule.timeout)
    try:
        with platform.environments.fresh(reqs, wheels, timeout_s=timeout_s) as environment:
            for pin, found in members:
                yield _prove(platform, pin, found, environment, folder, rule)
    except InvalidInput as error:
        for pin, _ in members:
            yield Proof(pin, reqs.digest, problem=f"it cannot be installed: {error.message}")


def _verified(platform: Platform, pin: Pin) -> ModelVersion:
    found = verify_model_version(platform.stores, pin.name, pin.version, platform.key.public)
    if found.wheel_digest != pin.digest:
        what = f"package {pin.name} {pin.version}"
        raise DigestMismatch(what, expected=pin.digest, actual=found.wheel_digest)
    return found


@contextmanager
def _folder(platform: Platform) -> Iterator[Path]:
    parent = platform.root / "gates"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="infrastructure-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _laid_out(platform: Platform, pin: Pin, found: ModelVersion, folder: Path) -> Path:
    """Under the name that installers want."""
    what = f"package {pin.name} {pin.version}"
    path = platform.stores.blobs.verified_path(pin.digest, what).resolve()
    target = folder / found.filename
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
    return target


def _prove(
    platform: Platform,
    pin: Pin,
    found: ModelVersion,
    environment: PythonEnvironment,
    folder: Path,
    rule: InfrastructureRule,
) -> Proof:
    work = folder / found.document["module"]
    work.mkdir()
    (work / "request.json").write_text(json.dumps(_start(found, folder / found.filename)))
    files = (probe_main.__file__, worker_main.__file__)
    scripts = [str(Path(one).resolve()) for one in files]
    words = ("-I", *scripts, str(work / "request.json"), str(work / "answer.json"))
    spec = command_task(
        f"gate/infrastructure/{pin.digest}",
        Command(environment.python, (str(environment.python), *words), dict(FIXED_VARIABLES)),
        work_dir=work,
        log_path=work / "log",
        host=platform.environments.host(RequirementSet.of()),
        limits=Limits(
            memory_bytes=int(rule.memory_mb * _MB), timeout_s=parse_duration_s(rule.timeout)
        ),
    )
    outcome = platform.runner.start(spec).result()
    problem = _problem_of(pin, outcome, rule)
    told: dict[str, Any] = {}
    if not problem:
        told = json.loads((work / "answer.json").read_text())
        problem = _say_problem(told.get("problem", ""), rule)
    return Proof(
        pin,
        environment.digest,
        environment.lock,
        told.get("samples", 0),
        told.get("load_s", 0.0),
        told.get("peak_bytes", 0) or outcome.peak_rss_bytes,
        problem,
    )


def _say_problem(said: str, rule: InfrastructureRule) -> str:
    """Each process is held to the limit by itself, too, and learns of it as a MemoryError."""
    if said.startswith("MemoryError"):
        return f"it took more than its memory limit of {rule.memory_mb:g} MB"
    return said


def _start(found: ModelVersion, wheel: Path) -> dict[str, Any]:
    document = found.document
    columns = document["signature"]
    return {
        "wheel_path": str(wheel),
        "wheel_name": found.filename,
        "package_digest": found.wheel_digest,
        "module": document["module"],
        "inputs": [(one["name"], one["datatype"]) for one in columns["inputs"]],
        "outputs": [(one["name"], one["datatype"]) for one in columns["outputs"]],
    }


def _problem_of(pin: Pin, outcome: TaskOutcome, rule: InfrastructureRule) -> str:
    """In words, where the model ended its process; raises where the machinery did."""
    what = f"{pin.name} {pin.version}"
    if outcome.timed_out:
        limit = say_duration(parse_duration_s(rule.timeout))
        raise Unavailable(f"Loading {what} did not end within {limit}.")
    if outcome.is_machinery or outcome.end is TaskEnd.CANCELED:
        said = outcome.error.message if outcome.error else outcome.end.value
        raise Unavailable(f"Loading {what} was interrupted: {said}")
    if outcome.succeeded:
        return ""
    return outcome.error.message if outcome.error else f"its process {outcome.end.value}"
