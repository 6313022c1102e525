"""Retries: how often, with which pauses, and what is kept of each attempt."""

from datetime import datetime

import pytest
import yaml
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from seamline.domain.errors import InvalidInput

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def flaky(path: str, works_at: int, data: Output[Dataset]) -> int:
    """Fails until its n-th attempt; counts in a file outside, with the time of each."""
    import time

    with open(path, "a+") as file:
        file.write(f"{time.time()}\n")
        file.seek(0)
        tries = len(file.read().split())
    with open(data.path, "w") as made:
        made.write(f"try {tries}")
    data.metadata["tries"] = tries
    print(f"this is try {tries}")
    if tries < works_at:
        raise RuntimeError(f"try {tries} failed")
    return tries


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    with open(data.path) as file:
        return f"{file.read()} {data.metadata['tries']}"


@dsl.component(base_image=IMAGE)
def say(text: str) -> str:
    return text


@feature("Retries", "A task that fails until its n-th attempt; what follows gets the last result")
@pytest.mark.parametrize("works_at", [1, 2, 3])
def test_kfp_retries(bench, tmp_path, works_at):
    @dsl.pipeline
    def retried(path: str, works_at: int) -> str:
        made = flaky(path=path, works_at=works_at).set_retry(2)
        return read(data=made.outputs["data"]).output

    path = tmp_path / "tries"
    ran = bench.run(retried, {"path": str(path), "works_at": works_at})
    assert (ran.state, ran.result) == ("succeeded", f"try {works_at} {works_at}")
    task = ran.tasks["flaky"]
    assert (task["attempt"], task["failures"]) == (works_at, works_at - 1)
    assert len(path.read_text().split()) == works_at
    assert ran.log("flaky").startswith(f"this is try {works_at}")


@feature("Retries", "Retries that are used up: the task has failed, with the last error")
def test_kfp_retries_are_used_up(bench, tmp_path):
    @dsl.pipeline
    def retried(path: str):
        made = flaky(path=path, works_at=10).set_retry(2, backoff_duration="0s")
        read(data=made.outputs["data"])

    path = tmp_path / "tries"
    ran = bench.run(retried, {"path": str(path)})
    assert (ran.failed, ran.upstream_failed) == ({"flaky"}, {"read"})
    assert ran.tasks["flaky"]["attempt"] == 3 and len(path.read_text().split()) == 3
    assert "try 3 failed" in ran.error("flaky")["message"]


@feature("Retries", "Without a retry policy a task is tried once")
def test_kfp_no_retries(bench, tmp_path):
    @dsl.pipeline
    def once(path: str):
        flaky(path=path, works_at=2)

    path = tmp_path / "tries"
    ran = bench.run(once, {"path": str(path)})
    assert ran.failed == {"flaky"} and len(path.read_text().split()) == 1


@feature("Retries", "Pauses grow by a factor up to a limit; other tasks run meanwhile")
def test_kfp_the_pauses_between_attempts(bench, tmp_path):
    """0.2 s, then 0.2 × 3 = 0.6, kept to 0.3. The SDK takes whole seconds only; the IR does not."""

    @dsl.pipeline
    def paused(path: str):
        flaky(path=path, works_at=3).set_retry(
            2, backoff_duration="2s", backoff_factor=3.0, backoff_max_duration="3s"
        )
        say(text="meanwhile")

    path = tmp_path / "tries"
    spec = yaml.safe_load(bench.compile(paused))
    policy = spec["root"]["dag"]["tasks"]["flaky"]["retryPolicy"]
    assert (policy["backoffDuration"], policy["backoffMaxDuration"]) == ("2s", "3s")
    policy |= {"backoffDuration": "0.2s", "backoffMaxDuration": "0.3s"}
    ran = bench.run(yaml.safe_dump(spec).encode(), {"path": str(path)})
    times = [float(word) for word in path.read_text().split()]
    first, second = times[1] - times[0], times[2] - times[1]
    assert first >= 0.2 and second >= 0.3
    ended = datetime.fromisoformat(ran.tasks["say"]["ended_at"]).timestamp()
    assert ended < times[2]


@feature("Retries", "Retries in loops: only the iteration that failed is tried again")
def test_kfp_retries_in_loops(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def flaky_item(folder: str, n: int) -> int:
        with open(f"{folder}/{n}", "a+") as file:
            file.write("x")
            file.seek(0)
            tries = len(file.read())
        assert n != 2 or tries > 1, "not yet"
        return tries

    @dsl.component(base_image=IMAGE)
    def total(numbers: list) -> int:
        return sum(numbers)

    @dsl.pipeline
    def looping(folder: str) -> int:
        with dsl.ParallelFor([1, 2, 3]) as n:
            each = flaky_item(folder=folder, n=n).set_retry(1)
        return total(numbers=dsl.Collected(each.output)).output

    ran = bench.run(looping, {"folder": str(tmp_path)})
    assert ran.result == 4
    assert ran.tasks["for-loop-2[1]/flaky-item"]["attempt"] == 2


@feature("Retries", "Retries of tasks that are killed")
def test_kfp_retries_after_a_kill(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def dies_once(path: str) -> str:
        import os
        import signal
        from pathlib import Path

        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return "alive"

    @dsl.pipeline
    def dying(path: str) -> str:
        return dies_once(path=path).set_retry(1, backoff_duration="0s").output

    assert bench.run(dying, {"path": str(tmp_path / "died")}).result == "alive"


@feature("Retries", "Retries of a nested pipeline")
def test_kfp_retries_of_a_pipeline(bench, tmp_path):
    """Said on a pipeline, a policy means each of its tasks."""

    @dsl.pipeline
    def inner(path: str):
        flaky(path=path, works_at=2)

    @dsl.pipeline
    def outer(path: str):
        inner(path=path).set_retry(2, backoff_duration="0s")

    path = tmp_path / "tries"
    ran = bench.run(outer, {"path": str(path)})
    assert ran.state == "succeeded" and len(path.read_text().split()) == 2
    assert ran.tasks["inner/flaky"]["attempt"] == 2


@feature("Retries", "A duration that cannot be read is refused", status="refused")
def test_kfp_a_duration_that_cannot_be_read(bench, tmp_path):
    @dsl.pipeline
    def paused():
        say(text="a").set_retry(1, backoff_duration="2s")

    spec = yaml.safe_load(bench.compile(paused))
    spec["root"]["dag"]["tasks"]["say"]["retryPolicy"]["backoffDuration"] = "soon"
    with pytest.raises(InvalidInput, match=r"say[\s\S]*'soon'"):
        bench.run(yaml.safe_dump(spec).encode())
