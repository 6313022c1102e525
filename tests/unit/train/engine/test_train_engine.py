"""Compiled pipelines, the real engine, real processes."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output, OutputPath

from seamline.domain.digests import digest_of
from seamline.domain.errors import NotFound, Refused
from seamline.store.facts import read_facts, verify_chain
from seamline.train.context import ResolvedArtifact
from seamline.train.runs import (
    cancel_run,
    find_artifact,
    find_artifact_by_id,
    list_runs,
    read_log,
    run_output,
    show_run,
)

IMAGE = "python:3.11"


class Prepared(NamedTuple):
    data: Dataset
    rows: int


class Whole(NamedTuple):
    model: Model
    said: str
    rows: int


@dsl.component(base_image=IMAGE)
def add(n: int, by: int = 1) -> int:
    return n + by


@dsl.component(base_image=IMAGE)
def total(numbers: list, extra: dict) -> int:
    assert all(type(n) is int for n in numbers), numbers
    return sum(numbers) + extra["more"]


@dsl.component(base_image=IMAGE)
def prepare(text: str, data: Output[Dataset], report: Output[Metrics]) -> int:
    from pathlib import Path

    Path(data.path).write_text(text)
    data.metadata["source"] = "test"
    report.log_metric("length", len(text))
    print("prepared", text)
    return len(text)


@dsl.component(base_image=IMAGE)
def fit(data: Input[Dataset], model: Output[Model], note: OutputPath(str)):
    from pathlib import Path

    weights = Path(model.path, "weights")
    weights.mkdir(parents=True)
    (weights / "w.bin").write_text(Path(data.path).read_text() * 2)
    model.metadata.update(data.metadata, trained=True)
    Path(note).write_text("fine")


@dsl.component(base_image=IMAGE)
def score(model: Input[Model], note: str, flag: bool = True) -> str:
    from pathlib import Path

    weights = Path(model.path, "weights", "w.bin").read_text()
    return f"{weights} {model.metadata['source']} {model.metadata['trained']} {note} {flag}"


@dsl.component(base_image=IMAGE)
def score_text(text: str) -> str:
    return text


@dsl.component(base_image=IMAGE)
def fail(text: str, data: Output[Dataset]) -> str:
    raise ValueError(f"no wind data for {text}")


@dsl.component(base_image=IMAGE)
def combine(
    first: str = "nothing", second: str = "nothing", data: Input[Dataset] | None = None
) -> str:
    return f"{first} | {second} | {data is not None}"


@dsl.pipeline
def chain(n: int = 1) -> int:
    first = add(n=n)
    second = add(n=first.output, by=10)
    return add(n=second.output).output


@dsl.pipeline
def fan(n: int) -> int:
    made = [add(n=n, by=i).output for i in range(6)]
    return total(numbers=[1, 2], extra={"more": made[5]}).output


def ends(shown: dict) -> dict[str, str]:
    """Of what is attempted: groups and loops only hold that."""
    holders = ("dag", "loop", "iteration")
    return {t["name"]: t["state"] for t in shown["tasks"] if t["kind"] not in holders}


def error_of(shown: dict, task: str) -> dict:
    return next(t["error"] for t in shown["tasks"] if t["name"] == task)


def test_a_chain(house, compile_ir):
    shown = house.run(compile_ir(chain), n=5)
    assert shown["state"] == "succeeded"
    assert run_output(house.stores, shown["id"], "Output") == 17
    assert shown["outputs"]["parameters"] == {"Output": 17}
    assert shown["edges"] == [{"from": "add", "to": "add-2"}, {"from": "add-2", "to": "add-3"}]
    second = shown["tasks"][1]
    assert second["inputs"]["parameters"]["n"] == {"value": 6, "from": "output Output of add"}
    assert second["inputs"]["parameters"]["by"] == {"value": 10, "from": "constant"}
    assert second["attempt"] == 1 and second["peak_rss_bytes"] > 0 and second["wall_s"] > 0
    packages = house.stores.blobs.get(second["packages_digest"]).decode().splitlines()
    assert any(line.startswith("kfp==") for line in packages)


def test_a_fan_out_with_numbers_in_lists_and_structs(house, compile_ir):
    shown = house.run(compile_ir(fan), n=10)
    assert shown["state"] == "succeeded", shown["sentence"]
    assert run_output(house.stores, shown["id"], "Output") == 18
    assert list_runs(house.stores)[0]["tasks"] == {"succeeded": 7}


@dsl.pipeline
def inner(text: str) -> Prepared:
    made = prepare(text=text)
    return Prepared(data=made.outputs["data"], rows=made.outputs["Output"])


@dsl.pipeline
def middle(text: str) -> Prepared:
    made = inner(text=text)
    return Prepared(data=made.outputs["data"], rows=made.outputs["rows"])


@dsl.pipeline
def outer(text: str = "ab") -> Whole:
    made = middle(text=text)
    fitted = fit(data=made.outputs["data"])
    said = score(model=fitted.outputs["model"], note=f"{made.outputs['rows']}: {text}")
    return Whole(model=fitted.outputs["model"], said=said.output, rows=made.outputs["rows"])


def test_nested_pipelines_hand_on_parameters_and_artifacts(house, compile_ir):
    shown = house.run(compile_ir(outer))
    assert ends(shown) == {
        "middle/inner/prepare": "succeeded", "fit": "succeeded", "score": "succeeded",
    }  # fmt: skip
    assert shown["outputs"]["parameters"] == {"said": "abab test True 2: ab True", "rows": 2}
    model = run_output(house.stores, shown["id"], "model")
    assert model == find_artifact(house.stores, shown["id"], "fit", "model")
    assert model == find_artifact_by_id(house.stores, model.id)
    assert (model.is_directory, model.schema_type, model.size_bytes) == (True, "system.Model", 4)
    manifest = json.loads(house.stores.blobs.get(model.digest))
    assert manifest == {"weights/w.bin": digest_of(b"abab")}
    report = find_artifact(house.stores, shown["id"], "middle/inner/prepare", "report")
    assert report.metadata == {"length": 2}
    assert house.stores.blobs.get(report.digest) == b'{"length":2}'
    assert [group["name"] for group in shown["groups"]] == ["middle", "middle/inner"]
    assert len({task["pid"] for task in shown["tasks"]} - {None}) == 3, "however short they were"


def test_what_a_task_was_given_is_gone_after_and_its_log_stays(house, compile_ir):
    shown = house.run(compile_ir(outer), text="é" * 10)
    run_id, task = shown["id"], "middle/inner/prepare"
    folder = house.stores.root / "runs" / run_id / "fit" / "1"
    assert not (folder / "inputs").exists() and not (folder / "outputs").exists()
    whole = read_log(house.stores, run_id, task)
    assert whole["text"] == "prepared " + "é" * 10 + "\n" and whole["is_complete"]
    piece = read_log(house.stores, run_id, task, limit=10)
    assert (piece["text"], piece["next_offset"], piece["is_complete"]) == ("prepared ", 9, False)
    rest = read_log(house.stores, run_id, task, offset=9)
    assert piece["text"] + rest["text"] == whole["text"]


class Made(NamedTuple):
    text: str
    data: Dataset


@dsl.pipeline
def team(text: str) -> Made:
    made = prepare(text=text)
    broken = fail(text=text).after(made)
    return Made(text=broken.outputs["Output"], data=broken.outputs["data"])


@dsl.pipeline
def aggregated() -> str:
    good = add(n=1)
    more = add(n=good.output)
    broken = team(text="x")
    after_broken = score_text(text=broken.outputs["text"])
    both = combine(first=after_broken.output, second="said", data=broken.outputs["data"])
    both.ignore_upstream_failure()
    add(n=more.output)
    return both.output


def test_a_failure_stops_only_its_own_branch(house, compile_ir):
    shown = house.run(compile_ir(aggregated))
    assert shown["state"] == "partially_failed"
    assert ends(shown) == {
        "add": "succeeded",
        "add-2": "succeeded",
        "add-3": "succeeded",
        "team/prepare": "succeeded",
        "team/fail": "failed",
        "score-text": "upstream_failed",
        "combine": "succeeded",
    }
    assert run_output(house.stores, shown["id"], "Output") == "nothing | said | False"
    assert shown["sentence"] == (
        "team/fail failed: ValueError: no wind data for x. "
        "1 that needed it did not run. 5 of 7 tasks succeeded."
    )
    error = error_of(shown, "team/fail")
    assert (error["kind"], error["type"]) == ("failed", "ValueError")
    assert "raise ValueError" in error["traceback"]
    assert error_of(shown, "score-text")["cause"] == "team/fail"
    assert "ValueError" in read_log(house.stores, shown["id"], "team/fail")["text"]


def test_every_end_is_a_fact_caused_by_the_request(house, compile_ir):
    shown = house.run(compile_ir(aggregated))
    with house.stores.db.read() as connection:
        facts = read_facts(connection, subject=shown["id"])
        assert verify_chain(connection).broken is None
    assert [f.kind for f in facts][:2] == ["run.requested", "run.started"]
    assert facts[-1].kind == "run.ended"
    assert facts[-1].body["failed_tasks"] == ["team/fail"]
    assert sum(f.kind == "task.ended" for f in facts) == 7
    assert {f.caused_by for f in facts[1:]} == {facts[0].id} and {f.by for f in facts} == {"ana"}


@dsl.component(base_image=IMAGE)
def read(data: Input[Dataset]) -> str:
    from pathlib import Path

    names = sorted(path.name for path in Path(data.path).iterdir())
    return f"{names} {data.metadata['rows']} {data.metadata['version']} {data.uri}"


@dsl.pipeline
def reading(data: str) -> str:
    imported = dsl.importer(artifact_uri=data, artifact_class=Dataset, metadata={"rows": 3})
    return read(data=imported.output).output


def test_an_imported_dataset_is_the_resolver_s(house, compile_ir, tmp_path, resolved):
    (tmp_path / "v7").mkdir()
    (tmp_path / "v7" / "part.parquet").write_bytes(b"x")
    seven = ResolvedArtifact(
        tmp_path / "v7", digest_of(b"seven"), {"version": 7}, "datasets://flights@7"
    )
    resolved |= {"datasets://flights": seven, "datasets://flights@7": seven}
    shown = house.run(compile_ir(reading), data="datasets://flights")
    assert (
        run_output(house.stores, shown["id"], "Output")
        == "['part.parquet'] 3 7 datasets://flights@7"
    )
    kept = find_artifact(house.stores, shown["id"], "importer", "artifact")
    assert (kept.uri, kept.digest) == ("datasets://flights@7", digest_of(b"seven"))
    assert shown["tasks"][0]["kind"] == "importer" and not shown["tasks"][0]["has_log"]


def test_a_source_that_changed_since_it_was_imported_is_refused(
    house, compile_ir, tmp_path, resolved
):
    """What a pinned URI resolves to is checked again where it is used."""
    one, two = digest_of(b"one"), digest_of(b"two")
    resolved["datasets://a"] = ResolvedArtifact(tmp_path, one, {"version": 1}, "datasets://a@1")
    resolved["datasets://a@1"] = ResolvedArtifact(tmp_path, two, {}, "datasets://a@1")
    shown = house.run(compile_ir(reading), data="datasets://a")
    message = error_of(shown, "read")["message"]
    assert one in message and two in message


def test_a_file_is_imported_into_the_blobs(house, compile_ir, tmp_path):
    @dsl.component(base_image=IMAGE)
    def text_of(data: Input[Artifact]) -> str:
        from pathlib import Path

        return Path(data.path).read_text()

    @dsl.pipeline
    def local(path: str) -> str:
        found = dsl.importer(artifact_uri=path, artifact_class=Artifact)
        return text_of(data=found.output).output

    file = tmp_path / "a.txt"
    file.write_text("hello")
    shown = house.run(compile_ir(local), path=str(file))
    assert run_output(house.stores, shown["id"], "Output") == "hello"
    assert find_artifact(house.stores, shown["id"], "importer", "artifact").uri == str(file)
    inside = house.run(compile_ir(local), path=str(house.stores.root / "seamline.db"))
    assert "workspace's own folder" in error_of(inside, "importer")["message"]
    missing = house.run(compile_ir(local), path="no/such")
    assert "there is no such file" in error_of(missing, "importer")["message"]


@dsl.component(base_image=IMAGE)
def wait_for(path: str) -> str:
    import time
    from pathlib import Path

    while not Path(path).exists():
        time.sleep(0.005)
    return "seen"


def test_an_altered_artifact_is_refused_naming_both_digests(house, compile_ir, tmp_path):
    @dsl.pipeline
    def guarded(gate: str):
        made = prepare(text="abc")
        opened = wait_for(path=gate)
        fit(data=made.outputs["data"]).after(opened)

    gate = tmp_path / "gate"
    run_id = house.request(compile_ir(guarded), gate=str(gate))
    house.wait_for(lambda: ends(show_run(house.stores, run_id))["prepare"] == "succeeded")
    kept = find_artifact(house.stores, run_id, "prepare", "data")
    house.stores.blobs.path_of(kept.digest).write_bytes(b"abd")
    gate.touch()
    shown = house.finish(run_id)
    error = error_of(shown, "fit")
    assert error["type"] == "DigestMismatch"
    assert digest_of(b"abc") in error["message"] and digest_of(b"abd") in error["message"]


def test_a_declared_output_that_is_not_written_is_a_failure(house, compile_ir):
    @dsl.component(base_image=IMAGE)
    def forget(model: Output[Model], kept: Output[Metrics], note: OutputPath(str)):
        kept.log_metric("a", 1)

    shown = house.run(compile_ir(forget))
    error = error_of(shown, "forget")
    assert (shown["state"], error["type"]) == ("failed", "MissingOutput")
    assert "parameter note, artifact model" in error["message"]


def test_retries_are_honoured(house, compile_ir, tmp_path):
    @dsl.component(base_image=IMAGE)
    def flaky(path: str) -> int:
        from pathlib import Path

        file = Path(path)
        tries = 1 + (len(file.read_text()) if file.exists() else 0)
        file.write_text("x" * tries)
        if tries < 3:
            raise RuntimeError(f"try {tries}")
        return tries

    @dsl.pipeline
    def retried(path: str) -> int:
        return flaky(path=path).set_retry(2, backoff_duration="0s").output

    @dsl.pipeline
    def given_up(path: str) -> int:
        return flaky(path=path).set_retry(1, backoff_duration="0s").output

    shown = house.run(compile_ir(retried), path=str(tmp_path / "a"))
    assert run_output(house.stores, shown["id"], "Output") == 3
    assert (shown["tasks"][0]["attempt"], shown["tasks"][0]["failures"]) == (3, 2)
    shown = house.run(compile_ir(given_up), path=str(tmp_path / "b"))
    assert (shown["state"], shown["tasks"][0]["attempt"]) == ("failed", 2)
    assert "try 2" in shown["sentence"]


def test_a_canceled_run_ends_its_tasks(house, compile_ir, tmp_path):
    @dsl.pipeline
    def endless(path: str):
        waiting = wait_for(path=path)
        score_text(text=waiting.output)

    run_id = house.request(compile_ir(endless), path=str(tmp_path / "never"))
    house.wait_for(lambda: show_run(house.stores, run_id)["tasks"][0]["pid"] is not None)
    pid = show_run(house.stores, run_id)["tasks"][0]["pid"]
    cancel_run(house.stores, run_id, by="bob")
    house.engine.wake()
    shown = house.finish(run_id)
    assert shown["state"] == "canceled" and set(ends(shown).values()) == {"canceled"}
    assert not Path(f"/proc/{pid}").exists()
    with house.stores.db.read() as connection:
        ended = read_facts(connection, kinds=["run.ended"])[-1]
    assert ended.by == "bob"
    with pytest.raises(Refused, match="has ended already"):
        cancel_run(house.stores, run_id, by="bob")


def test_a_task_sees_no_secrets_and_has_its_own_temporary_folder(house, compile_ir):
    @dsl.component(base_image=IMAGE)
    def look() -> dict:
        import os
        import tempfile

        return {**os.environ, "tmp": tempfile.gettempdir()}

    @dsl.pipeline
    def looking() -> dict:
        return look().set_env_variable("MODE", "fast").output

    shown = house.run(compile_ir(looking))
    seen = run_output(house.stores, shown["id"], "Output")
    assert seen["MODE"] == "fast" and seen["OMP_NUM_THREADS"] == "1"
    assert seen["tmp"].endswith("look/1/tmp")
    allowed = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "TMPDIR"}
    # What this process was started with: libraries add names of their own later, here and there.
    given = Path("/proc/self/environ").read_text().split("\0")
    ours = {entry.partition("=")[0] for entry in given if entry}
    assert not (ours & set(seen)) - allowed - {"OMP_NUM_THREADS", "_KFP_RUNTIME"}


def test_runs_share_the_slots_in_turn(house, compile_ir):
    """A long run does not keep a short one waiting."""

    @dsl.pipeline
    def wide():
        for _ in range(30):
            add(n=1)

    long_run = house.request(compile_ir(wide))
    short_run = house.request(compile_ir(chain))
    short, long = house.finish(short_run), house.finish(long_run)
    assert short["state"] == long["state"] == "succeeded"
    assert short["ended_at"] < long["ended_at"]


def test_unknown_ids_are_named_with_the_nearest(house, compile_ir):
    shown = house.run(compile_ir(outer))
    run_id = shown["id"]
    for call, said in [
        (lambda: show_run(house.stores, run_id[:-1] + "x"), run_id),
        (lambda: find_artifact(house.stores, run_id, "fitt", "model"), "Did you mean fit"),
        (lambda: find_artifact(house.stores, run_id, "fit", "modle"), "Did you mean model"),
        (lambda: run_output(house.stores, run_id, "modell"), "Did you mean model"),
        (lambda: read_log(house.stores, run_id, "scor"), "Did you mean score"),
        (lambda: find_artifact_by_id(house.stores, "x"), "There is no artifact 'x'"),
    ]:
        with pytest.raises(NotFound, match=said):
            call()
