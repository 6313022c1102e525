"""Caching: what is done again and what is not. Each test's `salt` makes its tasks its own."""

from typing import List

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

IMAGE = "python:3.11"
feature = pytest.mark.feature


@pytest.fixture
def salt(tmp_path) -> str:
    return str(tmp_path)


@dsl.component(base_image=IMAGE)
def add(n: int, salt: str, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def write(text: str, salt: str, data: Output[Dataset]) -> int:
    with open(data.path, "w") as file:
        file.write(text)
    data.metadata["length"] = len(text)
    return len(text)


@dsl.component(base_image=IMAGE)
def copy_file(path: str, data: Output[Dataset]):
    import shutil

    shutil.copy(path, data.path)


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset], salt: str) -> str:
    with open(data.path) as file:
        return f"{file.read()} {data.metadata.get('length')}"


@dsl.component(base_image=IMAGE)
def count_lines(path: str, salt: str) -> int:
    """Each real execution leaves a line behind: a witness outside of the run's own records."""
    with open(path, "a+") as file:
        file.write("x\n")
        file.seek(0)
        return len(file.read().split())


@dsl.pipeline
def chain(n: int, salt: str) -> int:
    first = add(n=n, salt=salt)
    return add(n=first.output, salt=salt, by=10).output


@feature("Caching", "Again with the same inputs: every task is skipped, the outputs are the same")
def test_kfp_a_cached_run(bench, salt):
    first = bench.run(chain, {"n": 1, "salt": salt}, cache=None)
    assert first.executed == {"add", "add-2"} and first.skipped == set()
    again = bench.run(chain, {"n": 1, "salt": salt}, cache=None)
    assert again.executed == set() and again.skipped == {"add", "add-2"}
    assert (again.state, again.result) == ("succeeded", 12)
    assert again.tasks["add"]["cached_from"] == {"run_id": first.id, "task": "add"}
    third = bench.run(chain, {"n": 1, "salt": salt}, cache=None)
    assert third.tasks["add"]["cached_from"]["run_id"] == first.id, "whoever really made it"


@feature("Caching", "A skipped task really does not run")
def test_kfp_a_skipped_task_leaves_no_trace(bench, salt, tmp_path):
    @dsl.pipeline
    def counting(path: str, salt: str) -> int:
        return count_lines(path=path, salt=salt).output

    arguments = {"path": str(tmp_path / "lines"), "salt": salt}
    results = [bench.run(counting, arguments, cache=None).result for _ in range(3)]
    assert results == [1, 1, 1] and (tmp_path / "lines").read_text() == "x\n"


@feature("Caching", "Artifacts of a skipped task: bytes and metadata flow on")
def test_kfp_cached_artifacts(bench, salt):
    @dsl.pipeline
    def flowing(text: str, salt: str) -> str:
        made = write(text=text, salt=salt)
        fresh = read(data=made.outputs["data"], salt=salt)
        fresh.set_caching_options(False)
        return fresh.output

    first = bench.run(flowing, {"text": "abc", "salt": salt}, cache=None)
    again = bench.run(flowing, {"text": "abc", "salt": salt}, cache=None)
    assert (again.skipped, again.executed) == ({"write"}, {"read"})
    assert first.result == again.result == "abc 3"
    assert again.artifact("write", "data")["digest"] == first.artifact("write", "data")["digest"]
    assert again.artifact("write", "data")["metadata"] == {"length": 3}
    assert again.output("write") == 3


@feature("Caching", "A changed input: that task and what really depends on it run again")
def test_kfp_a_changed_input(bench, salt):
    @dsl.pipeline
    def two_branches(n: int, m: int, salt: str):
        add(n=add(n=n, salt=salt).output, salt=salt, by=10)
        same = add(n=m, salt=salt, by=0)
        add(n=same.output, salt=salt, by=20)

    bench.run(two_branches, {"n": 1, "m": 5, "salt": salt}, cache=None)
    ran = bench.run(two_branches, {"n": 2, "m": 5, "salt": salt}, cache=None)
    assert ran.executed == {"add", "add-2"} and ran.skipped == {"add-3", "add-4"}
    assert ran.output("add-2") == 13


@feature("Caching", "A changed input: that task and what really depends on it run again")
def test_kfp_the_same_result_of_a_changed_input(bench, salt):
    """What comes after is skipped when its own inputs are what they were."""

    @dsl.component(base_image=IMAGE)
    def sign(n: int, salt: str) -> int:
        return 1 if n > 0 else -1

    @dsl.pipeline
    def signed(n: int, salt: str) -> int:
        return add(n=sign(n=n, salt=salt).output, salt=salt).output

    bench.run(signed, {"n": 3, "salt": salt}, cache=None)
    ran = bench.run(signed, {"n": 4, "salt": salt}, cache=None)
    assert (ran.executed, ran.skipped, ran.result) == ({"sign"}, {"add"}, 2)


@feature("Caching", "Inputs that look alike (1, true, '1', [1]) are different")
def test_kfp_types_are_part_of_an_input(bench, salt):
    @dsl.component(base_image=IMAGE)
    def see(value: list, salt: str) -> str:
        return repr(value)

    @dsl.pipeline
    def seeing(value: list, salt: str) -> str:
        return see(value=value, salt=salt).output

    values = [[1], [True], ["1"], [None], [0.5], ["0.5"], [[1]], []]
    for _ in range(2):
        results = [bench.run(seeing, {"value": v, "salt": salt}, cache=None).result for v in values]
        assert results == [repr(value) for value in values]


@feature("Caching", "Changed code: a miss; changed back: a hit")
def test_kfp_changed_source(bench, salt):
    def make(by: int):
        if by == 1:

            @dsl.component(base_image=IMAGE)
            def step(n: int, salt: str) -> int:
                return n + 1

        else:

            @dsl.component(base_image=IMAGE)
            def step(n: int, salt: str) -> int:
                return n + 2

        @dsl.pipeline
        def stepping(n: int, salt: str) -> int:
            return step(n=n, salt=salt).output

        return stepping

    assert bench.run(make(1), {"n": 1, "salt": salt}, cache=None).result == 2
    changed = bench.run(make(2), {"n": 1, "salt": salt}, cache=None)
    assert (changed.result, changed.executed) == (3, {"step"})
    back = bench.run(make(1), {"n": 1, "salt": salt}, cache=None)
    assert (back.result, back.skipped) == (2, {"step"})


@feature("Caching", "Changed image, environment variables or packages: a miss")
@pytest.mark.parametrize("changed", ["image", "variable", "packages"])
def test_kfp_changed_surroundings(bench, salt, changed):
    @dsl.component(base_image=IMAGE)
    def plain(salt: str) -> str:
        return "a"

    @dsl.component(base_image=IMAGE, packages_to_install=["numpy"])
    def with_package(salt: str) -> str:
        return "a"

    @dsl.pipeline(name="surroundings")
    def before(salt: str):
        plain(salt=salt).set_env_variable("MODE", "a")

    @dsl.pipeline(name="surroundings")
    def after(salt: str):
        task = (with_package if changed == "packages" else plain)(salt=salt)
        task.set_env_variable("MODE", "b" if changed == "variable" else "a")
        if changed == "image":
            task.set_container_image("python:3.12")

    bench.run(before, {"salt": salt}, cache=None)
    assert len(bench.run(before, {"salt": salt}, cache=None).skipped) == 1
    ran = bench.run(after, {"salt": salt}, cache=None)
    assert len(ran.executed) == 1 and ran.skipped == set()


@feature("Caching", "Other bytes in an artifact: a miss; the same bytes made anew: a hit")
def test_kfp_changed_artifacts(bench, salt, tmp_path):
    @dsl.pipeline
    def reading(path: str, salt: str) -> str:
        made = copy_file(path=path)
        made.set_caching_options(False)
        return read(data=made.outputs["data"], salt=salt).output

    path = tmp_path / "data.txt"
    arguments = {"path": str(path), "salt": salt}
    path.write_text("one")
    assert bench.run(reading, arguments, cache=None).executed == {"copy-file", "read"}
    same = bench.run(reading, arguments, cache=None)
    assert (same.executed, same.skipped) == ({"copy-file"}, {"read"})
    path.write_text("two")
    other = bench.run(reading, arguments, cache=None)
    assert other.executed == {"copy-file", "read"} and other.result == "two None"


@feature("Caching", "Switched off for one task (set_caching_options(False))")
def test_kfp_off_for_one_task(bench, salt):
    @dsl.pipeline
    def partly(n: int, salt: str):
        first = add(n=n, salt=salt)
        first.set_caching_options(False)
        add(n=first.output, salt=salt, by=2)

    bench.run(partly, {"n": 1, "salt": salt}, cache=None)
    ran = bench.run(partly, {"n": 1, "salt": salt}, cache=None)
    assert (ran.executed, ran.skipped) == ({"add"}, {"add-2"})


@feature("Caching", "Switched off, or on, for a whole run")
def test_kfp_off_for_a_run(bench, salt):
    bench.run(chain, {"n": 1, "salt": salt}, cache=None)
    ran = bench.run(chain, {"n": 1, "salt": salt}, cache=False)
    assert ran.executed == {"add", "add-2"} and ran.skipped == set()

    @dsl.pipeline
    def never(n: int, salt: str):
        add(n=n, salt=salt, by=7).set_caching_options(False)

    bench.run(never, {"n": 1, "salt": salt}, cache=True)
    assert bench.run(never, {"n": 1, "salt": salt}, cache=True).skipped == {"add"}


@feature("Caching", "A maximum age per run")
def test_kfp_a_maximum_age(bench, salt):
    bench.run(chain, {"n": 1, "salt": salt}, cache=None)
    young = bench.run(chain, {"n": 1, "salt": salt}, cache=None, cache_max_age_s=3600.0)
    assert young.skipped == {"add", "add-2"}
    old = bench.run(chain, {"n": 1, "salt": salt}, cache=None, cache_max_age_s=0.0)
    assert old.executed == {"add", "add-2"}


@feature("Caching", "A custom key: whatever the inputs, within one component")
def test_kfp_a_custom_key(bench, salt):
    @dsl.pipeline
    def keyed(n: int, salt: str) -> int:
        task = add(n=n, salt=salt)
        task.set_caching_options(True, cache_key="mine-replaced")
        other = write(text="x", salt=salt)
        other.set_caching_options(True, cache_key="mine-replaced")
        return task.output

    ir = bench.compile(keyed).replace(b"mine-replaced", salt.encode())
    first = bench.run(ir, {"n": 1, "salt": salt}, cache=None)
    assert first.executed == {"add", "write"} and first.result == 2
    again = bench.run(ir, {"n": 50, "salt": salt}, cache=None)
    assert again.skipped == {"add", "write"} and again.result == 2
    other = bench.run(
        ir.replace(salt.encode(), f"{salt}-other".encode()), {"n": 50, "salt": salt}, cache=None
    )
    assert other.executed == {"add", "write"} and other.result == 51


@feature("Caching", "Failures are not cached")
def test_kfp_failures_are_not_cached(bench, salt, tmp_path):
    @dsl.component(base_image=IMAGE)
    def needs(path: str, salt: str) -> str:
        with open(path) as file:
            return file.read()

    @dsl.pipeline
    def needing(path: str, salt: str) -> str:
        return needs(path=path, salt=salt).output

    arguments = {"path": str(tmp_path / "there"), "salt": salt}
    assert bench.run(needing, arguments, cache=None).failed == {"needs"}
    (tmp_path / "there").write_text("now")
    ran = bench.run(needing, arguments, cache=None)
    assert (ran.result, ran.executed) == ("now", {"needs"})


@feature("Caching", "In loops and nested pipelines: only new items run")
def test_kfp_caching_in_loops(bench, salt):
    @dsl.component(base_image=IMAGE)
    def total(numbers: List[int], salt: str) -> int:
        return sum(numbers)

    @dsl.pipeline
    def looping(items: List[int], salt: str) -> int:
        with dsl.ParallelFor(items) as n:
            each = chain(n=n, salt=salt)
        return total(numbers=dsl.Collected(each.output), salt=salt).output

    first = bench.run(looping, {"items": [1, 2], "salt": salt}, cache=None)
    assert len(first.executed) == 5 and first.result == 25
    again = bench.run(looping, {"items": [1, 2], "salt": salt}, cache=None)
    assert len(again.skipped) == 5 and again.executed == set() and again.result == 25
    more = bench.run(looping, {"items": [3, 1, 2], "salt": salt}, cache=None)
    assert more.executed == {"for-loop-1[0]/chain/add", "for-loop-1[0]/chain/add-2", "total"}
    assert more.result == 39


@feature("Caching", "Two tasks of one run that do the same: each has the right result")
def test_kfp_twins(bench, salt):
    @dsl.pipeline
    def twins(n: int, salt: str):
        first = add(n=n, salt=salt)
        add(n=n, salt=salt).after(first)

    ran = bench.run(twins, {"n": 1, "salt": salt}, cache=None)
    assert ran.output("add") == ran.output("add-2") == 2
    assert "add" in ran.executed


@feature("Caching", "With conditions: a skipped task decides as it did")
def test_kfp_caching_before_a_condition(bench, salt):
    @dsl.pipeline
    def branching(n: int, salt: str) -> int:
        first = add(n=n, salt=salt)
        with dsl.If(first.output > 5):
            high = add(n=100, salt=salt)
        with dsl.Else():
            low = add(n=0, salt=salt)
        return dsl.OneOf(high.output, low.output)

    branches = "condition-branches-1"
    for n, taken, result in [(1, "condition-3/add-3", 1), (9, "condition-2/add-2", 101)]:
        bench.run(branching, {"n": n, "salt": salt}, cache=None)
        ran = bench.run(branching, {"n": n, "salt": salt}, cache=None)
        assert ran.skipped == {"add", f"{branches}/{taken}"}
        assert ran.result == result and len(ran.not_triggered) == 1


@feature("Caching", "A result that is damaged on disk is not reused")
def test_kfp_a_damaged_result(bench, salt):
    @dsl.pipeline
    def flowing(text: str, salt: str) -> str:
        made = write(text=text, salt=salt)
        return read(data=made.outputs["data"], salt=salt).output

    text = f"damaged {salt}"
    first = bench.run(flowing, {"text": text, "salt": salt}, cache=None)
    digest = first.artifact("write", "data")["digest"]
    bench.stores.blobs.path_of(digest).unlink()
    again = bench.run(flowing, {"text": text, "salt": salt}, cache=None)
    assert (again.state, again.result) == ("succeeded", first.result)
    assert "write" in again.executed or "read" in again.skipped
