"""Exit handlers, final status, tolerant tasks, failure policies."""

import json

import pytest
from kfp import dsl
from kfp.dsl import Dataset, Input, Output, PipelineTaskFinalStatus

from seamline.train.options import FailurePolicy

IMAGE = "python:3.11"
feature = pytest.mark.feature


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def fail(message: str) -> int:
    raise ValueError(message)


@dsl.component(base_image=IMAGE)
def clean_up(word: str = "done") -> str:
    return word


@dsl.component(base_image=IMAGE)
def tell(n: int = -1, text: str = "nothing") -> str:
    return f"{n} {text}"


@dsl.component(base_image=IMAGE)
def report(status: PipelineTaskFinalStatus, word: str = "") -> dict:
    return {
        "state": status.state,
        "task": status.pipeline_task_name,
        "run": status.pipeline_job_resource_name,
        "code": status.error_code,
        "message": status.error_message,
        "word": word,
    }


GROUP = "exit-handler-1"


@feature("Exit handlers and failures", "An exit task runs after its group: when all went well")
def test_kfp_an_exit_task_after_success(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def note(path: str, word: str):
        with open(path, "a") as file:
            file.write(word + "\n")

    @dsl.pipeline
    def guarded(path: str):
        with dsl.ExitHandler(note(path=path, word="end")):
            one = note(path=path, word="one")
            note(path=path, word="two").after(one)

    ran = bench.run(guarded, {"path": str(tmp_path / "order")})
    assert ran.state == "succeeded"
    assert ran.executed == {f"{GROUP}/note-2", f"{GROUP}/note-3", "note"}
    assert (tmp_path / "order").read_text().split() == ["one", "two", "end"]


@feature("Exit handlers and failures", "An exit task runs after its group: when a task failed")
def test_kfp_an_exit_task_after_a_failure(bench):
    @dsl.pipeline
    def guarded():
        with dsl.ExitHandler(clean_up()):
            broken = fail(message="oh no")
            add(n=broken.output)
            add(n=1)
        add(n=2)

    ran = bench.run(guarded)
    assert ran.state == "partially_failed"
    assert ran.failed == {f"{GROUP}/fail"} and ran.upstream_failed == {f"{GROUP}/add"}
    assert ran.executed == {f"{GROUP}/fail", f"{GROUP}/add-2", "clean-up", "add-3"}
    assert "oh no" in ran.shown["sentence"]


@feature("Exit handlers and failures", "PipelineTaskFinalStatus: how the group ended")
def test_kfp_the_final_status_of_success(bench):
    @dsl.pipeline
    def guarded(word: str):
        with dsl.ExitHandler(report(word=word)):
            add(n=1)

    ran = bench.run(guarded, {"word": "é"})
    said = ran.output("report")
    assert (said["state"], said["task"], said["word"]) == ("SUCCEEDED", GROUP, "é")
    assert (said["code"], said["message"]) == (None, None)
    assert ran.id in said["run"]


@feature("Exit handlers and failures", "PipelineTaskFinalStatus: how the group ended")
def test_kfp_the_final_status_of_a_failure(bench):
    @dsl.pipeline
    def guarded():
        with dsl.ExitHandler(report(), name="watched"):
            add(n=fail(message="no \"wind\" for 'x'").output)

    ran = bench.run(guarded)
    said = ran.output("report")
    assert (said["state"], said["task"]) == ("FAILED", GROUP)
    assert "no \"wind\" for 'x'" in said["message"] and "fail" in said["message"]
    assert isinstance(said["code"], int) and said["code"] != 0


@feature("Exit handlers and failures", "PipelineTaskFinalStatus of any task, by tolerance")
@pytest.mark.parametrize("goes_well", [True, False])
def test_kfp_the_final_status_of_one_task(bench, goes_well):
    @dsl.pipeline
    def watched():
        task = add(n=1) if goes_well else fail(message="oh no")
        report(word="w").after(task).ignore_upstream_failure()

    said = bench.run(watched).output("report")
    assert said["state"] == ("SUCCEEDED" if goes_well else "FAILED")
    assert said["task"] == ("add" if goes_well else "fail")
    assert said["message"] is None if goes_well else "oh no" in said["message"]


@feature("Exit handlers and failures", "Groups in an exit handler: loops, conditions, pipelines")
def test_kfp_groups_in_an_exit_handler(bench):
    @dsl.pipeline
    def inner(n: int) -> int:
        return add(n=add(n=n).output).output

    @dsl.pipeline
    def guarded(limit: int):
        with dsl.ExitHandler(report()):
            with dsl.ParallelFor([1, 2, 3]) as n:
                each = inner(n=n)
                with dsl.If(n > limit):
                    fail(message="too large")
                with dsl.Else():
                    add(n=each.output)

    well = bench.run(guarded, {"limit": 9})
    assert well.state == "succeeded" and len(well.executed) == 10
    assert well.output("report")["state"] == "SUCCEEDED"
    ill = bench.run(guarded, {"limit": 2})
    assert len(ill.failed) == 1 and len(ill.executed) == 10
    assert ill.output("report")["state"] == "FAILED"
    assert "too large" in ill.output("report")["message"]


@feature("Exit handlers and failures", "An untaken branch is no failure for an exit handler")
def test_kfp_an_exit_handler_around_an_untaken_branch(bench):
    @dsl.pipeline
    def guarded(n: int):
        with dsl.ExitHandler(report()):
            with dsl.If(n > 0):
                add(n=n)

    ran = bench.run(guarded, {"n": 0})
    assert ran.state == "succeeded" and ran.executed == {"report"}
    assert ran.output("report")["state"] == "SUCCEEDED"


@feature("Exit handlers and failures", "Several exit handlers; inputs from outside the group")
def test_kfp_several_exit_handlers(bench):
    @dsl.pipeline
    def guarded():
        outside = add(n=40)
        with dsl.ExitHandler(clean_up(word="first")):
            add(n=outside.output)
        with dsl.ExitHandler(clean_up(word="second")):
            fail(message=f"not {outside.output}")

    ran = bench.run(guarded)
    assert ran.output("clean-up") == "first" and ran.output("clean-up-2") == "second"
    assert ran.output(f"{GROUP}/add-2") == 42
    (failed,) = ran.failed
    assert "not 41" in ran.error(failed)["message"]


@feature("Exit handlers and failures", "Exit handlers in nested pipelines")
def test_kfp_an_exit_handler_in_a_nested_pipeline(bench):
    @dsl.pipeline
    def inner(message: str):
        with dsl.ExitHandler(report()):
            fail(message=message)

    @dsl.pipeline
    def outer():
        with dsl.ExitHandler(report()):
            inner(message="deep down")
        add(n=1)

    ran = bench.run(outer)
    assert ran.failed == {f"{GROUP}/inner/exit-handler-1/fail"}
    inside, outside = ran.output(f"{GROUP}/inner/report"), ran.output("report")
    assert inside["state"] == outside["state"] == "FAILED"
    assert "deep down" in inside["message"] and "deep down" in outside["message"]


@feature("Exit handlers and failures", "An exit task that fails makes the run fail")
def test_kfp_a_failing_exit_task(bench):
    @dsl.pipeline
    def guarded():
        with dsl.ExitHandler(fail(message="cannot clean up")):
            add(n=1)

    ran = bench.run(guarded)
    assert ran.state == "failed" and ran.failed == {"fail"}
    assert "cannot clean up" in ran.shown["sentence"]


@feature("Exit handlers and failures", "Exit tasks with retries")
def test_kfp_an_exit_task_with_retries(bench, tmp_path):
    @dsl.component(base_image=IMAGE)
    def flaky(path: str) -> int:
        with open(path, "a+") as file:
            file.write("x")
            file.seek(0)
            tries = len(file.read())
        assert tries > 1, "not yet"
        return tries

    @dsl.pipeline
    def guarded(path: str):
        with dsl.ExitHandler(flaky(path=path).set_retry(2, backoff_duration="0s")):
            fail(message="oh no")

    ran = bench.run(guarded, {"path": str(tmp_path / "tries")})
    assert ran.output("flaky") == 2 and ran.tasks["flaky"]["attempt"] == 2


@feature("Exit handlers and failures", "ignore_upstream_failure: defaults for what is missing")
def test_kfp_a_tolerant_task(bench):
    @dsl.pipeline
    def tolerant():
        broken = fail(message="oh no")
        good = add(n=1)
        tell(n=broken.output, text="both").ignore_upstream_failure()
        tell(n=good.output, text="good").ignore_upstream_failure()
        last = add(n=broken.output)
        tell(n=last.output, text="chain").ignore_upstream_failure()

    ran = bench.run(tolerant)
    assert ran.state == "partially_failed"
    assert ran.output("tell") == "-1 both"
    assert ran.output("tell-2") == "2 good"
    assert ran.output("tell-3") == "-1 chain"
    assert ran.upstream_failed == {"add-2"}


@feature("Exit handlers and failures", "ignore_upstream_failure: defaults for what is missing")
def test_kfp_a_tolerant_task_with_an_artifact(bench):
    @dsl.component(base_image=IMAGE)
    def broken_write(data: Output[Dataset]):
        raise ValueError("no data")

    @dsl.component(base_image=IMAGE)
    def look(data: Input[Dataset] = None, text: str = "x") -> bool:
        return data is None

    @dsl.pipeline
    def tolerant():
        made = broken_write()
        look(data=made.outputs["data"], text="y").ignore_upstream_failure()

    ran = bench.run(tolerant)
    assert ran.output("look") is True and ran.failed == {"broken-write"}


@feature("Exit handlers and failures", "ignore_upstream_failure: after a nested pipeline")
def test_kfp_a_tolerant_task_after_a_pipeline(bench):
    @dsl.pipeline
    def inner() -> int:
        return add(n=fail(message="oh no").output).output

    @dsl.pipeline
    def tolerant() -> str:
        return tell(n=inner().output, text="x").ignore_upstream_failure().output

    ran = bench.run(tolerant)
    assert ran.result == "-1 x"
    assert ran.failed == {"inner/fail"} and ran.upstream_failed == {"inner/add"}


@feature("Exit handlers and failures", "A text with a reference to what is missing")
def test_kfp_a_tolerant_task_with_a_text(bench):
    """A constant that refers to an output which is not there has no value: the default stands."""

    @dsl.pipeline
    def tolerant() -> str:
        broken = fail(message="oh no")
        return tell(n=1, text=f"got {broken.output}").ignore_upstream_failure().output

    assert bench.run(tolerant).result == "1 nothing"


@feature("Exit handlers and failures", "Failure policy slow (default): other branches finish")
def test_kfp_the_slow_policy(bench):
    @dsl.pipeline
    def branches():
        first = fail(message="oh no")
        add(n=first.output)
        value = add(n=1)
        for _ in range(3):
            value = add(n=value.output)

    ran = bench.run(branches, failure_policy=FailurePolicy.SLOW)
    assert ran.state == "partially_failed"
    assert len(ran.executed) == 5 and ran.upstream_failed == {"add"}
    assert "4 of 6 tasks succeeded" in ran.shown["sentence"]


@feature("Exit handlers and failures", "Failure policy fast: nothing new starts but exit handlers")
def test_kfp_the_fast_policy(bench):
    @dsl.pipeline
    def guarded():
        with dsl.ExitHandler(report()):
            broken = fail(message="oh no")
            late = clean_up(word="late").after(broken)
            late.ignore_upstream_failure()
            add(n=1, by=1).after(late)

    ran = bench.run(guarded, failure_policy=FailurePolicy.FAST)
    assert ran.failed == {f"{GROUP}/fail"}
    assert "report" in ran.executed and ran.output("report")["state"] == "FAILED"
    assert f"{GROUP}/add" not in ran.executed
    assert ran.state in ("failed", "partially_failed")


@feature("Exit handlers and failures", "A killed task is a failed one, with its signal and log")
def test_kfp_a_task_that_is_killed(bench):
    @dsl.component(base_image=IMAGE)
    def kill_itself():
        import os
        import signal

        print("last words", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    @dsl.component(base_image=IMAGE)
    def leave(code: int) -> str:
        import os

        os._exit(code)
        return "never"

    @dsl.pipeline
    def dying():
        kill_itself()
        leave(code=3)
        leave(code=0)
        add(n=1)

    ran = bench.run(dying)
    assert ran.failed == {"kill-itself", "leave", "leave-2"} and "add" in ran.executed
    assert "SIGKILL" in json.dumps(ran.error("kill-itself"))
    assert "last words" in ran.log("kill-itself")
    assert "3" in ran.error("leave")["message"]
