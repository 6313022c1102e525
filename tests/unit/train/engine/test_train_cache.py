"""What makes two calls the same, which results may stand in, and where they come from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seamline.domain.clock import ManualClock, new_id
from seamline.domain.states import Fidelity, RunState, TaskState
from seamline.store.stores import Stores, open_stores
from seamline.train.artifacts import Artifact, store_path
from seamline.train.attempts.importing import ImporterExecutor
from seamline.train.engine.cache import look_up, look_up_run
from seamline.train.engine.cache_key import (
    KeyMaker,
    differences,
    is_repeatable,
    key_of,
    why_not_repeatable,
)
from seamline.train.ir.claims import claim_function
from seamline.train.ir.lightweight import PythonFunction
from seamline.train.ir.types import (
    ArtifactSpec,
    Component,
    Constant,
    ContainerExecutor,
    Mount,
    ParameterSpec,
    ParameterType,
    Resources,
    RetryPolicy,
    SecretKind,
    SecretVariable,
    VolumeKind,
)
from seamline.train.options import DEFAULT_OPTIONS, Isolation, RunOptions
from seamline.train.plan.sources import Literal, Nothing
from seamline.train.plan.types import Gate, PlannedTask
from seamline.train.record import load_artifacts
from seamline.train.results import TaskResult
from seamline.train.runs import run_state, show_request

# -- the key -----------------------------------------------------------------------------------
FUNCTION = PythonFunction("def f(n): ...", "f", ("numpy>=2",))
EXECUTOR = ContainerExecutor(
    "python:3.11", FUNCTION, ("sh", "-c", "x"), ("--executor_input", "{{$}}"), {"MODE": "fast"}
)
COMMAND = ContainerExecutor("alpine", None, ("sh", "-c"), ("echo {{$.inputs.parameters['n']}}",))
NUMBER = ParameterSpec(ParameterType.NUMBER_INTEGER)
TOKEN = SecretVariable("TOKEN", SecretKind.SECRET, Constant("s"), "token")
COMPONENT = Component(
    "comp-f",
    {"n": NUMBER},
    {},
    {"Output": NUMBER},
    {"model": ArtifactSpec("system.Model", "0.0.1")},
    EXECUTOR,
)
DATA = Artifact(
    "id-1", "data", "system.Dataset", "sha256:1", 3, False, True, "runs://r1/load/data", {"rows": 3}
)


def task_of(component: Component, **more: Any) -> PlannedTask:
    values: dict[str, Any] = {
        "name": "f",
        "component": component,
        "executor": component.body,
        "gate": Gate((), False, None),
        "parameters": {},
        "artifacts": {},
        "uri": Nothing(),
        "metadata": Nothing(),
        "retry": None,
        "enable_cache": True,
        "cache_key": "",
        "display_name": "f",
        **more,
    }
    return PlannedTask(**values)


def changed(**fields: Any) -> Component:
    return dataclasses.replace(COMPONENT, **fields)


def with_executor(executor: ContainerExecutor = EXECUTOR, **fields: Any) -> Component:
    return changed(body=dataclasses.replace(executor, **fields))


def with_function(**fields: Any) -> Component:
    return with_executor(function=dataclasses.replace(FUNCTION, **fields))


def key(
    component: Component = COMPONENT,
    environment: str = "dataops",
    n: Any = 1,
    data: Any = DATA,
    **more: Any,
) -> str:
    parts = KeyMaker(environment).parts(task_of(component, **more), {"n": n}, {"data": data})
    return key_of(parts)


@pytest.mark.parametrize(
    "other",
    [
        {"environment": "staging"},
        {"component": with_function(source="def f(n): return 1")},
        {"component": with_function(function="g")},
        {"component": with_function(requirements=("numpy>=3",))},
        {"component": with_function(index_urls=("https://packages.example/simple",))},
        {"component": with_executor(image="python:3.12")},
        {"component": with_executor(args=("--executor_input", "{{$}}", "--more"))},
        {"component": with_executor(env={"MODE": "slow"})},
        {"component": with_executor(env={})},
        {"component": with_executor(secrets=(TOKEN,))},
        {"component": with_executor(mounts=(Mount(VolumeKind.CLAIM, Constant("c"), "/data"),))},
        {"component": changed(output_parameters={"Other": NUMBER})},
        {"component": changed(output_parameters={"Output": ParameterSpec(ParameterType.STRING)})},
        {"component": changed(output_artifacts={"model": ArtifactSpec("system.Dataset", "0.0.1")})},
        {"n": 2},
        {"n": 1.0},
        {"n": True},
        {"n": "1"},
        {"n": None},
        {"n": [1]},
        {"data": dataclasses.replace(DATA, digest="sha256:2")},
        {"data": dataclasses.replace(DATA, metadata={"rows": 4})},
        {"data": dataclasses.replace(DATA, schema_type="system.Model")},
        {"data": (DATA, DATA)},
        {"cache_key": "mine"},
    ],
    ids=str,
)
def test_each_part_of_a_call_makes_another_key(other):
    assert key(**other) != key()


@pytest.mark.parametrize(
    "other",
    [
        {"component": with_executor(resources=Resources(memory_limit="4Gi", cpu_request="2"))},
        {"component": with_executor(timeout_s=5.0)},
        {"component": with_executor(notes=("nodeSelector has no effect",))},
        {"component": with_executor(command=("sh", "-c", "another preamble"))},
        {"component": with_function(requirements=("NumPy >= 2",))},
        {"component": with_function(trusted_hosts=("packages.example",))},
        {"component": changed(parameters={})},
        {"data": dataclasses.replace(DATA, id="id-2", uri="runs://r2/load/data", name="other")},
        {"data": (DATA,)},
        {"name": "g", "display_name": "g"},
        {"retry": RetryPolicy(3, 1.0, 2.0, 60.0)},
        {"gate": Gate(("load",), True, None)},
        {"parameters": {"n": Literal(5)}},
    ],
    ids=str,
)
def test_what_changes_no_result_changes_no_key(other):
    assert key(**other) == key()


def test_variables_refer_to_earlier_ones_so_their_order_counts():
    one = key(with_executor(env={"A": "$(B)", "B": "1"}))
    assert key(with_executor(env={"B": "1", "A": "$(B)"})) != one


def test_a_command_is_part_of_the_key_of_what_is_no_function():
    commands = {
        key(with_executor(COMMAND)),
        key(with_executor(COMMAND, command=("bash", "-c"))),
        key(with_executor(COMMAND, args=("echo 2",))),
        key(with_executor(COMMAND, image="busybox")),
    }
    assert len(commands) == 4


def test_a_custom_key_stands_for_everything_within_its_component():
    assert key(cache_key="v1") == key(
        with_function(source="def f(n): return 1"), n=5, data=(), cache_key="v1"
    )
    assert key(cache_key="v1") != key(cache_key="v2")
    assert key(cache_key="v1") != key(environment="staging", cache_key="v1")
    assert key(cache_key="v1") != key(changed(name="g"), cache_key="v1")


def test_a_long_value_stands_in_the_parts_by_its_digest():
    maker, task = KeyMaker("dataops"), task_of(COMPONENT)
    long, longer = (maker.parts(task, {"n": "x" * size}, {}) for size in (501, 502))
    assert long["parameters"]["n"].startswith("sha256:")
    assert key_of(long) != key_of(longer)


def test_two_tasks_of_one_component_share_what_does_not_differ():
    maker = KeyMaker("dataops")
    first = maker.parts(task_of(COMPONENT), {"n": 1}, {})
    second = maker.parts(task_of(COMPONENT, name="f-2"), {"n": 2}, {"data": DATA})
    assert list(differences(first, second)) == [
        "parameters n: 1 → 2",
        'artifacts data: null → [["sha256:1", "system.Dataset", "{\\"rows\\": 3}"]]',
    ]
    custom = maker.parts(task_of(COMPONENT, cache_key="mine"), {"n": 1}, {})
    assert "custom_key: null → mine" in list(differences(first, custom))
    assert list(differences(first, first)) == []


@pytest.mark.parametrize(
    ("executor", "said"),
    [
        (ImporterExecutor("s3://a", "system.Dataset"), "Importers are never taken"),
        (dataclasses.replace(COMMAND, args=("{{$.pipeline_job_uuid}}",)), "its own run or task"),
        (dataclasses.replace(COMMAND, command=("{{$.workspace_path}}/x",)), "its own run or task"),
        (dataclasses.replace(COMMAND, env={"T": "{{$.pipeline_task_name}}"}), "its own run"),
        (dataclasses.replace(EXECUTOR, env={"R": "{{$.pipeline_job_name}}"}), "its own run"),
        (
            dataclasses.replace(EXECUTOR, function=claim_function("argostub/createpvc")),
            "names a volume claim",
        ),
    ],
    ids=str,
)
def test_what_is_never_taken_from_the_cache_says_why(executor, said):
    task = task_of(COMPONENT, executor=executor)
    assert said in why_not_repeatable(task)
    assert not is_repeatable(task)


def test_a_function_s_own_command_does_not_count():
    """It is the compiler's, and only writes the source to a file."""
    assert is_repeatable(task_of(with_executor(command=("sh", "{{$.pipeline_job_uuid}}"))))
    assert is_repeatable(task_of(with_executor(COMMAND)))


# -- results that stand in ---------------------------------------------------------------------
@pytest.fixture
def stores(tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    """Time stands still until a test moves it."""
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()


@pytest.fixture
def puppets(puppetry: Any, stores: Stores) -> Any:
    return puppetry.Puppets(stores, slots=4)


@pytest.fixture
def ir(sketching: Any) -> bytes:
    """t0 → t1."""
    return cached(sketching.write_ir((sketching.Sketch(), sketching.Sketch(after=(0,), reads=0))))


def cached(ir: bytes, **options: Any) -> bytes:
    spec = json.loads(ir)
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {"enableCache": True, **options}
    return json.dumps(spec).encode()


def kept(stores: Stores, data: bytes, name: str = "data") -> dict[str, Artifact]:
    digest = stores.blobs.put(data)
    return {name: dataclasses.replace(DATA, id=new_id(stores.clock), name=name, digest=digest)}


def results(stores: Stores, puppetry: Any, data: bytes = b"rows") -> Any:
    def result(order: Any) -> TaskResult:
        outputs = {"count": 1, "items": [order.path]}
        return TaskResult(TaskState.SUCCEEDED, outputs, kept(stores, data, f"{order.path}"))

    return result


def run(puppets: Any, ir: bytes, result: Any, options: Any = DEFAULT_OPTIONS, **more: Any) -> Any:
    """(run, what started)."""
    before = len(puppets.history)
    run_id = puppets.request(ir, options, **more)
    puppets.finish(result)
    return run_id, puppets.history[before:]


def test_a_result_stands_in_and_says_where_it_comes_from(puppets, puppetry, stores, ir):
    result = results(stores, puppetry)
    first, started = run(puppets, ir, result)
    assert started == ["t0", "t1"]
    second, started = run(puppets, ir, result)
    third, again = run(puppets, ir, result)
    assert started == again == []
    for run_id in (second, third):
        rows = puppets.rows(run_id)
        assert {row.state for row in rows.values()} == {TaskState.SKIPPED}
        for name, row in rows.items():
            assert (row.cached_run_id, row.cached_task) == (first, name)
            assert json.loads(row.outputs) == {"count": 1, "items": [name]}
            assert (row.attempt, row.cache_key) == (0, puppets.rows(first)[name].cache_key)
            assert row.started_at is not None
        assert run_state(stores, run_id) is RunState.SUCCEEDED
    with stores.db.read() as connection:
        made = [load_artifacts(connection, one)["t0", "t0"] for one in (first, second, third)]
    assert len({one.id for one in made}) == 3
    assert len({one.digest for one in made}) == 1


def test_another_environment_has_results_of_its_own(puppets, puppetry, stores, ir):
    result = results(stores, puppetry)
    run(puppets, ir, result)
    assert run(puppets, ir, result, environment="staging")[1] == ["t0", "t1"]


def test_a_failure_never_stands_in(puppets, puppetry, stores, ir):
    run(puppets, ir, lambda order: puppetry.failed())
    assert run(puppets, ir, results(stores, puppetry))[1] == ["t0", "t1"]


@pytest.mark.parametrize("chosen", [True, False])
def test_a_run_may_choose_for_all_of_its_tasks(puppets, puppetry, stores, sketching, chosen):
    ir = sketching.write_ir((sketching.Sketch(),))
    ir = ir if chosen else cached(ir)  # what the pipeline says is the other way round
    result = results(stores, puppetry)
    run(puppets, ir, result)
    assert run(puppets, ir, result)[1] == (["t0"] if chosen else [])
    options = RunOptions(enable_cache=chosen)
    assert run(puppets, ir, result, options)[1] == ([] if chosen else ["t0"])


def test_an_older_result_than_is_asked_for_is_made_anew(puppets, puppetry, stores, ir, clock):
    result = results(stores, puppetry)
    first, _ = run(puppets, ir, result)
    clock.advance(60)
    assert run(puppets, ir, result, RunOptions(cache_max_age_s=60))[1] == []
    clock.advance(1)
    again, started = run(puppets, ir, result, RunOptions(cache_max_age_s=60))
    assert started == ["t0", "t1"]
    newest, started = run(puppets, ir, result, RunOptions(cache_max_age_s=1e300))
    assert started == []
    assert puppets.rows(newest)["t0"].cached_run_id == again != first


def test_the_age_of_a_result_is_that_of_the_work(puppets, puppetry, stores, ir, clock):
    """Having stood in for another yesterday makes it no younger."""
    result = results(stores, puppetry)
    run(puppets, ir, result)
    clock.advance(50)
    assert run(puppets, ir, result)[1] == []
    clock.advance(50)
    assert run(puppets, ir, result, RunOptions(cache_max_age_s=60))[1] == ["t0", "t1"]


def test_a_result_that_was_made_in_a_weaker_way_than_demanded_does_not_stand_in(
    puppets, puppetry, stores, ir, clock
):
    result = results(stores, puppetry)
    run(puppets, ir, result, RunOptions(isolation=Isolation.REUSE))
    forked = RunOptions(demand_fidelity=Fidelity.FORKED)
    run_id, started = run(puppets, ir, result)
    assert started == []
    assert show_request(stores, run_id)["fidelity"] == Fidelity.REUSED
    clock.advance(1)
    run_id, started = run(puppets, ir, result, forked)
    assert started == ["t0", "t1"]
    assert show_request(stores, run_id)["fidelity"] == Fidelity.FORKED
    _, started = run(puppets, ir, result, forked)
    assert started == []


def test_a_result_whose_bytes_are_gone_does_not_stand_in(puppets, puppetry, stores, ir):
    result = results(stores, puppetry)
    run(puppets, ir, result)
    stores.blobs.path_of(kept(stores, b"rows")["data"].digest).unlink()
    assert run(puppets, ir, result)[1] == ["t0"], "its bytes are there again: t1 has the same"


@pytest.mark.parametrize("gone", ["the directory", "a file of it"])
def test_a_directory_is_gone_with_any_of_its_files(puppets, puppetry, stores, ir, tmp_path, gone):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w")
    stored = store_path(stores.blobs, folder)
    model = dataclasses.replace(DATA, digest=stored.digest, is_directory=True)

    def result(order: Any) -> TaskResult:
        store_path(stores.blobs, folder)
        made = {"model": dataclasses.replace(model, id=new_id(stores.clock))}
        return TaskResult(TaskState.SUCCEEDED, {"count": 1}, made)

    run(puppets, ir, result)
    assert run(puppets, ir, result)[1] == []
    manifest = json.loads(stores.blobs.get(stored.digest))
    missing = stored.digest if gone == "the directory" else manifest["weights"]
    stores.blobs.path_of(missing).unlink()
    assert "t0" in run(puppets, ir, result)[1]


def test_what_lies_elsewhere_is_not_missed_here(puppets, puppetry, stores, ir):
    """A dataset's version is resolved by its URI each time that it is used."""

    def result(order: Any) -> TaskResult:
        made = {"data": dataclasses.replace(DATA, id=new_id(stores.clock), is_blob=False)}
        return TaskResult(TaskState.SUCCEEDED, {"count": 1}, made)

    run(puppets, ir, result)
    assert run(puppets, ir, result)[1] == []


def test_twins_of_a_run_stand_in_for_one_another_once_one_is_done(
    puppets, puppetry, stores, sketching
):
    """`t0`, `t1` and `t3` are called with the same."""
    sketch = sketching.Sketch
    ir = cached(sketching.write_ir((sketch(), sketch(), sketch(), sketch(after=(2,)))))
    ir = ir.replace(b"root-1", b"root-0").replace(b"root-3", b"root-0")
    run_id = puppets.request(ir)
    assert puppets.running == ["t0", "t1", "t2"], "no twin has a result yet"
    puppets.end("t0", puppetry.succeeded(count=1, items=[]))
    assert puppets.end("t2", puppetry.succeeded(count=1, items=[])) == []
    row = puppets.rows(run_id)["t3"]
    assert (row.state, row.cached_run_id, row.cached_task) == (TaskState.SKIPPED, run_id, "t0")


def test_what_was_tried_before_in_its_run_is_tried_again(puppets, puppetry, stores, sketching):
    """A retry, of the policy or of the whole run, is there to do the work."""
    sketch = sketching.Sketch
    run_id = puppets.request(cached(sketching.write_ir((sketch(retries=1),))))
    puppets.end("t0", puppetry.failed())
    assert puppets.running == ["t0"]
    assert puppets.rows(run_id)["t0"].attempt == 2


def test_a_custom_key_stands_in_for_a_changed_component(puppets, puppetry, stores, sketching):
    ir = cached(sketching.write_ir((sketching.Sketch(),)), cacheKey="v1")
    result = results(stores, puppetry)
    run(puppets, ir, result)
    assert run(puppets, ir.replace(b"def leaf(): ...", b"def leaf(): pass"), result)[1] == []
    assert run(puppets, ir.replace(b'"v1"', b'"v2"'), result)[1] == ["t0"]


# -- a run that is re-run ----------------------------------------------------------------------
def test_the_results_of_a_run_stand_in_where_nothing_has_changed(
    puppets, puppetry, stores, sketching
):
    """Also without caching in the pipeline, and for what stood in there itself."""
    ir = sketching.write_ir((sketching.Sketch(), sketching.Sketch(after=(0,))))
    result = results(stores, puppetry)
    first, _ = run(puppets, ir, result)
    second, started = run(puppets, ir, result, reuses_run=first)
    assert started == []
    third, started = run(puppets, ir, result, reuses_run=second)
    assert started == []
    assert puppets.rows(third)["t1"].cached_run_id == first
    other = ir.replace(b"def leaf(): ...", b"def leaf(): pass")
    assert run(puppets, other, result, reuses_run=first)[1] == ["t0", "t1"]


def test_from_a_task_on_all_is_done_again(puppets, puppetry, stores, sketching):
    sketch = sketching.Sketch
    loop = sketch(inner=(sketch(), sketch(after=(0,))), is_loop=True, count=2, after=(0,))
    ir = cached(sketching.write_ir((sketch(), loop, sketch(after=(1,)), sketch(after=(0,)))))
    result = results(stores, puppetry)
    first, _ = run(puppets, ir, result)
    options = RunOptions(from_task="t1[1]/t1")
    _, started = run(puppets, ir, result, options, reuses_run=first)
    assert started == ["t1[1]/t1", "t2"]
    _, started = run(puppets, ir, result, RunOptions(from_task="t1"), reuses_run=first)
    assert sorted(started) == ["t1[0]/t0", "t1[0]/t1", "t1[1]/t0", "t1[1]/t1", "t2"]


# -- the look-up -------------------------------------------------------------------------------
def test_many_keys_are_looked_up_in_few_statements(puppets, puppetry, stores, ir):
    run_id, _ = run(puppets, ir, results(stores, puppetry))
    rows = puppets.rows(run_id)
    known = {name: row.cache_key for name, row in rows.items()}
    unknown = [f"sha256:{number:064x}" for number in range(1_500)]
    with stores.db.read() as connection:
        found = look_up(connection, stores, [*unknown, *known.values()], None)
        by_name = look_up_run(connection, stores, run_id, {**known, "t9": "sha256:0"})
        other = look_up_run(connection, stores, run_id, {"t0": known["t1"]})
    assert set(found) == set(known.values())
    assert {name: hit.task for name, hit in by_name.items()} == {"t0": "t0", "t1": "t1"}
    assert other == {}
    assert (by_name["t0"].run_id, by_name["t0"].fidelity) == (run_id, Fidelity.FORKED)


def test_of_many_results_of_a_call_the_newest_stands_in(puppets, puppetry, stores, ir, clock):
    """Also where other ones of the same moment are there: one run of them is taken."""
    result = results(stores, puppetry)
    no_cache = RunOptions(enable_cache=False)
    runs = [run(puppets, ir, result, no_cache)[0] for _ in range(2)]
    clock.advance(1)
    newest = [run(puppets, ir, result, no_cache)[0] for _ in range(2)]
    assert len({*runs, *newest}) == 4
    rows = puppets.rows(run(puppets, ir, result)[0])
    assert {row.cached_run_id for row in rows.values()} == {max(newest)}
