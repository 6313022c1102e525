"""`seamline run explain`: each sentence, where it is true."""

from typing import Any

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from seamline.domain.digests import digest_of
from seamline.domain.errors import NotFound
from seamline.domain.states import Fidelity
from seamline.train.again import retry_run
from seamline.train.context import ResolvedArtifact
from seamline.train.options import DEFAULT_OPTIONS, Isolation, RunOptions
from seamline.train.runs import find_artifact, request_run
from seamline.train.views.explain import explain_task

IMAGE = "python:3.11"


@dsl.component(base_image=IMAGE)
def make(n: int, fail: bool = False) -> int:
    assert not fail
    return n


@dsl.component(base_image=IMAGE)
def write(text: str, data: Output[Dataset]):
    from pathlib import Path

    Path(data.path).write_text(text)


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    from pathlib import Path

    return Path(data.path).read_text()


@dsl.pipeline
def work(n: int = 1, fail: bool = False):
    first = make(n=n)
    make(n=7).set_caching_options(False)
    with dsl.ParallelFor([5]) as item:
        make(n=item).after(first)
    make(n=0, fail=fail)
    make(n=100).after(first)


@dsl.pipeline
def files(text: str):
    read(data=write(text=text).outputs["data"])


@pytest.fixture
def explain(house: Any) -> Any:
    def sentence(shown: dict[str, Any], task: str) -> str:
        return str(explain_task(house.stores, shown["id"], task)["sentence"])

    return sentence


def test_what_is_there_to_compare_with(house, compile_ir, explain):
    """Nothing; the same; and something else."""
    ir = compile_ir(work)
    first = house.run(ir)
    assert explain(first, "make") == "No task of this component had succeeded before it."
    again = house.run(ir)
    assert explain(again, "make") == (
        f"It was not run: the result of make in run {first['id']} stands in, which was called "
        "with the same."
    )
    changed = house.run(ir, n=2)
    told = explain_task(house.stores, changed["id"], "make")
    assert told["sentence"] == (
        f"What it was called with differs from make in run {first['id']}: parameters n: 1 → 2."
    )
    assert told["differences"] == ["parameters n: 1 → 2"]
    assert told["compared_with"] == {"run_id": first["id"], "task": "make"}
    assert told["parts"]["parameters"]["n"] == "2"
    assert explain_task(house.stores, again["id"], "make")["cached_from"] == {
        "run_id": first["id"],
        "task": "make",
    }


def test_what_is_no_task_has_no_result(house, compile_ir, explain):
    shown = house.run(compile_ir(work))
    assert explain(shown, "for-loop-2") == "It is a loop: only tasks are taken from the cache."
    assert explain(shown, "for-loop-2[0]").startswith("It is an iteration: only tasks")
    inside = explain(shown, "for-loop-2[0]/make-3")
    assert inside == "No task of this component had succeeded before it."
    with pytest.raises(NotFound, match=r"for-loop-2\[0\]"):
        explain(shown, "for-loop-2[1]")


def test_what_was_chosen(house, compile_ir, explain):
    ir = compile_ir(work)
    shown = house.run(ir)
    assert explain(shown, "make-2").startswith("Caching is off for this task in the pipeline")
    without = house.run(ir, RunOptions(enable_cache=False))
    assert explain(without, "make") == "The run was requested without cache (--no-cache)."
    everything = house.run(ir, RunOptions(enable_cache=True))
    assert explain(everything, "make-2").startswith("It was not run")


def test_what_has_not_started(house, compile_ir, explain, stores):
    @dsl.pipeline
    def broken():
        make(n=make(n=1, fail=True).output)

    shown = house.run(compile_ir(broken))
    assert explain(shown, "make-2") == "It has not started, so there is nothing to explain."
    run_id = request_run(stores, compile_ir(work), arguments={}, environment="dataops", by="ana")
    assert "has not started" in explain({"id": run_id}, "make")


def test_what_never_stands_in(house, compile_ir, explain, resolved, tmp_path):
    @dsl.container_component
    def who():
        return dsl.ContainerSpec("alpine", ["echo", dsl.PIPELINE_JOB_ID_PLACEHOLDER])

    @dsl.pipeline
    def importing():
        found = dsl.importer(artifact_uri="datasets://a", artifact_class=Dataset)
        read(data=found.output)
        who()

    (tmp_path / "a").write_text("a")
    one = ResolvedArtifact(tmp_path / "a", digest_of(b"a"), {}, "datasets://a@1")
    resolved |= {"datasets://a": one, "datasets://a@1": one}
    shown = house.run(compile_ir(importing))
    assert explain(shown, "importer").startswith("Importers are never taken from the cache")
    assert "names its own run or task" in explain(shown, "who")


def test_a_result_that_is_too_old(house, compile_ir, explain):
    ir = compile_ir(work)
    first = house.run(ir)
    ended_at = next(task["ended_at"] for task in first["tasks"] if task["name"] == "make")
    shown = house.run(ir, RunOptions(cache_max_age_s=0.0))
    assert explain(shown, "make") == (
        f"Run {first['id']} has a result of the same call, but it is from {ended_at}, and the run "
        "takes none older than 0 s."
    )


def test_a_result_that_was_made_in_a_weaker_way(house, compile_ir, explain):
    ir = compile_ir(work)
    first = house.run(ir, RunOptions(isolation=Isolation.REUSE))
    shown = house.run(ir, RunOptions(demand_fidelity=Fidelity.FORKED))
    assert explain(shown, "make") == (
        f"Run {first['id']} has a result of the same call, but it ran as reused, and the run "
        "demands forked."
    )


def test_a_result_whose_bytes_are_gone(house, compile_ir, explain):
    ir = compile_ir(files)
    first = house.run(ir, text="rows")
    kept = find_artifact(house.stores, first["id"], "write", "data")
    house.stores.blobs.path_of(kept.digest).unlink()
    shown = house.run(ir, RunOptions(cache_max_age_s=3_600.0), text="rows")
    house.stores.blobs.path_of(kept.digest).unlink()
    assert explain(shown, "write") == (
        f"Run {first['id']} has a result of the same call, but its bytes are gone."
    )
    assert explain(shown, "read").startswith("It was not run")


def test_a_result_that_came_too_late(house, compile_ir, explain, tmp_path):
    """Twins begin together: neither waits for the other."""

    @dsl.pipeline
    def twins():
        for _ in range(3):
            make(n=1)

    shown = house.run(compile_ir(twins))
    third = max(shown["tasks"], key=lambda task: task["started_at"])["name"]
    assert explain(shown, third) == (
        f"Run {shown['id']} has a result of the same call, but it was not there yet when this "
        "task became ready."
    )


def test_a_task_that_is_tried_again(house, compile_ir, explain, tmp_path):
    @dsl.component(base_image=IMAGE)
    def flaky(path: str) -> int:
        from pathlib import Path

        if not Path(path).exists():
            Path(path).touch()
            raise RuntimeError("at first")
        return 1

    @dsl.pipeline
    def tried(path: str):
        flaky(path=path)

    ir = compile_ir(tried)
    path = str(tmp_path / "here")
    first = house.run(ir, path=path)
    second = house.run(ir, path=path)
    retry_run(house.stores, first["id"], by="ana")
    house.engine.wake()
    house.finish(first["id"])
    assert explain(first, "flaky") == (
        f"Run {second['id']} has a result of the same call, but this task had been tried already, "
        "and is tried again for a result of its own."
    )


def test_a_run_that_repeats_another(house, compile_ir, explain):
    ir = compile_ir(work)
    first = house.run(ir)

    def repeat(options: RunOptions = DEFAULT_OPTIONS, **arguments: Any) -> dict[str, Any]:
        run_id = request_run(
            house.stores,
            ir,
            arguments=arguments,
            environment="dataops",
            by="ana",
            options=options,
            reuses_run=first["id"],
        )
        house.engine.wake()
        return house.finish(run_id)

    changed = repeat(n=2)
    assert explain(changed, "make") == (
        f"What it was called with differs from make in run {first['id']}: parameters n: 1 → 2. "
        "This run repeats that one."
    )
    assert explain(changed, "make-2").startswith("It was not run"), "though caching is off for it"
    onward = repeat(RunOptions(from_task="make"))
    for task in ("make", "for-loop-2[0]/make-3", "make-5"):
        assert explain(onward, task) == (
            "The run was requested to do make and all that comes after it anew."
        )
    assert explain(onward, "make-4").startswith("It was not run")
