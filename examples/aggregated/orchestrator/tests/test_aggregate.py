"""What is sewn together when every part is well, and when one is not."""

import aggregate
import pytest
import yaml
from lock_file import read_lock

A, P = "arrivals-pipeline", "punctuality-pipeline"
TAKE = ["--take", f"{A}@1.0.0", "--take", f"{P}@1.0.0"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def published(registry, stand_in):
    """Both parts as 1.0.0."""
    registry.publish(A, "1.0.0", stand_in("arrivals"))
    registry.publish(P, "1.0.0", stand_in("punctuality"))
    return registry


def parts_in(folder):
    document = yaml.safe_load((folder / "flight-report.yaml").read_text())
    return sorted(name for name in (A, P) if f"comp-{name}" in document["components"])


def locked(folder):
    return {pin.name: pin.digest for pin in read_lock(folder / "pipelines.lock").values()}


def test_both_are_sewn_together_and_pinned(folder, published, stand_in):
    assert aggregate.main(TAKE) == 0
    assert parts_in(folder) == [A, P]
    pins = read_lock(folder / "pipelines.lock")
    assert {(pin.tag, pin.repository) for pin in pins.values()} == {("1.0.0", "default/main")}
    digests = [published.publish(name, "same", published.tags[name, "1.0.0"]) for name in (A, P)]
    assert [pins[A].digest, pins[P].digest] == digests


def test_the_lock_alone_makes_the_same_bytes_wherever_the_tags_are(folder, published, stand_in):
    aggregate.main(TAKE)
    before = (folder / "flight-report.yaml").read_bytes(), locked(folder)
    published.publish(A, "elsewhere", published.tags[A, "1.0.0"])
    published.publish(A, "1.0.0", stand_in("arrivals", note="second"))
    assert aggregate.main([]) == 0
    assert ((folder / "flight-report.yaml").read_bytes(), locked(folder)) == before


def test_a_struct_goes_in_as_it_stands(folder, published):
    aggregate.main(TAKE)
    text = (folder / "flight-report.yaml").read_text()
    tasks = yaml.safe_load(text)["components"]["comp-for-loop-1"]["dag"]["tasks"]
    given = tasks[P]["inputs"]["parameters"]["params"]["runtimeValue"]["constant"]
    assert {key: value for key, value in given.items() if key != "origin"} == {
        "late_after_min": 15.0,
        "prior_flights": 20.0,
    }
    assert "inputs.parameters" in given["origin"]


BROKEN = {
    "is no pipeline": b"hello: world\n",
    "is torn": b"components: {comp-",
    "has no inner parts": b"pipelineInfo: {name: arrivals-pipeline}\n"
    b"schemaVersion: 2.1.0\nroot: {dag: {tasks: {}}}\n",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_part_that_does_not_load_stays_as_it_was_and_the_other_moves_on(
    folder, published, stand_in, capsys, data
):
    aggregate.main(TAKE)
    before = locked(folder)
    published.publish(A, "1.1.0", data)
    newer = published.publish(P, "1.1.0", stand_in("punctuality", note="second"))
    assert aggregate.main(["--take", f"{A}@1.1.0", "--take", f"{P}@1.1.0"]) == 3
    assert locked(folder) == {A: before[A], P: newer}
    assert parts_in(folder) == [A, P]
    assert f"{A}@1.1.0 does not fit" in capsys.readouterr().err


@pytest.mark.parametrize("other", [{"output": "landed"}, {"params": "settings"}])
def test_a_part_with_another_interface_stays_as_it_was(folder, published, stand_in, capsys, other):
    aggregate.main(TAKE)
    before = locked(folder)
    published.publish(A, "2.0.0", stand_in(other.pop("output", "arrivals"), **other))
    assert aggregate.main(["--take", f"{A}@2.0.0"]) == 3
    assert locked(folder) == before
    assert f"{A}@2.0.0 does not fit" in capsys.readouterr().err


def test_a_part_that_never_was_well_is_left_out(folder, published, capsys):
    published.publish(A, "1.0.0", b"hello: world\n")
    assert aggregate.main(TAKE) == 3
    assert parts_in(folder) == [P]
    assert list(locked(folder)) == [P]
    assert f"{A} is left out" in capsys.readouterr().err


def test_a_part_that_is_gone_keeps_its_line_in_the_lock(folder, published, capsys):
    aggregate.main(TAKE)
    before = locked(folder)
    del published.tags[A, "1.0.0"]
    assert aggregate.main([]) == 3
    assert parts_in(folder) == [P]
    assert locked(folder) == before
    assert f"{A}@1.0.0 of the lock does not come: 404" in capsys.readouterr().err


def test_other_bytes_than_pinned_are_not_used(folder, published, capsys):
    aggregate.main(TAKE)
    published.altered.add(A)
    assert aggregate.main(["--take", f"{A}@1.0.0"]) == 3
    assert parts_in(folder) == [P]
    said = capsys.readouterr().err
    assert said.count(f"should be {locked(folder)[A]}, and sha256:") == 2


def test_with_no_part_nothing_is_made(folder, registry, capsys):
    assert aggregate.main(TAKE) == 1
    assert not (folder / "flight-report.yaml").exists()
    assert not (folder / "pipelines.lock").exists()
    assert "nothing to aggregate" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["arrivals@1.0.0", A, f"{A}@"])
def test_an_unknown_part_and_a_missing_tag_are_refused(registry, capsys, word):
    with pytest.raises(SystemExit):
        aggregate.main(["--take", word])
    assert A in capsys.readouterr().err
