"""Rows are SQL: a whole server on PostgreSQL, and the stock psql beside it reading what it did."""

# No postponed annotations here: the KFP SDK reads those of its components.
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler, dsl

PROJECT = """
project = "rows"
team = "rows"

[datasets.numbers]
date = ["year", "month", "day"]
keys = ["year", "month", "day", "n"]
"""


@dsl.component(base_image="python:3.11")
def count(numbers: dsl.Input[dsl.Dataset]) -> int:
    from pathlib import Path

    return len(list(Path(numbers.path).rglob("*.parquet")))


@dsl.pipeline
def counting(numbers: str = "datasets://numbers"):
    read = dsl.importer(artifact_uri=numbers, artifact_class=dsl.Dataset, reimport=False)
    count(numbers=read.output)


@pytest.fixture(scope="module")
def database(postgres_server: Any) -> str:
    """The address of an empty database, as psql writes it."""
    return str(postgres_server.create()).replace("+psycopg", "")


@pytest.fixture(scope="module")
def psql(database: str) -> Callable[[str], str]:
    def ask(query: str) -> str:
        command = [shutil.which("psql") or "psql", database, "-X", "-A", "-t", "-c", query]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return ask


@pytest.fixture(scope="module")
def seamline(
    database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Any]]:
    """A command's JSON, against a server that keeps its rows in PostgreSQL."""
    folder = tmp_path_factory.mktemp("psql")
    program = [str(Path(sys.executable).with_name("seamline")), "--workspace", f"{folder}/work"]
    environ = {key: value for key, value in os.environ.items() if "SEAMLINE" not in key}
    url = database.replace("postgresql:", "postgresql+psycopg:")
    up = ["up", "--port", "0", "--serve-port", "0", "--database-url", url, "--json"]
    server = subprocess.Popen(
        [*program, *up], stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True
    )
    assert server.stdout is not None
    try:
        assert server.stdout.readline()

        def run(*arguments: object) -> Any:
            command = [*program, *map(str, arguments), "--json"]
            done = subprocess.run(command, capture_output=True, text=True, env=environ)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        yield run
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(240) == 0
        server.stdout.close()
    assert not (folder / "work/seamline.db").exists()


@pytest.fixture(scope="module")
def done(seamline: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small loop: apply, ingest, a run, a principal, a release."""
    folder = tmp_path_factory.mktemp("loop")
    (folder / "seamline.toml").write_text(PROJECT)
    seamline("apply", folder / "seamline.toml")
    lines = [f"2024,1,{day},{n}" for day in (1, 2, 3) for n in range(10)]
    (folder / "numbers.csv").write_text("\n".join(["year,month,day,n", *lines]))
    version = seamline("data", "ingest", "numbers", folder / "numbers.csv")
    compiler.Compiler().compile(counting, str(folder / "counting.yaml"))
    seamline("pipeline", "push", folder / "counting.yaml", "--tag", "1.0.0")
    run = seamline("run", "submit", "counting@1.0.0", "--wait")
    assert seamline("principal", "add", "ada", "--role", "approver")["token"]
    release = seamline("release", "create", "first", "--pipeline", "counting@1.0.0")
    return {"version": version, "run": run, "release": release}


def test_psql_reads_the_runs(done, psql):
    run = done["run"]
    assert run["state"] == "succeeded"
    assert psql("SELECT id, pipeline, state FROM runs") == f"{run['id']}|counting|succeeded"
    tasks = psql("SELECT name, state, attempt FROM tasks ORDER BY position").splitlines()
    assert tasks == ["importer|succeeded|1", "count|succeeded|1"]
    outputs = psql("SELECT outputs::json FROM tasks WHERE name = 'count'")
    assert "3" in outputs


def test_psql_reads_the_facts_in_their_order(done, psql):
    kinds = psql("SELECT kind FROM facts ORDER BY seq").splitlines()
    expected = [
        "project.applied",
        "dataset.version_committed",
        "pipeline.published",
        "run.requested",
        "run.ended",
        "principal.added",
        "release.created",
    ]
    found = [kind for kind in kinds if kind in expected]
    # The workspace's first principal is its owner.
    assert found[found.index("project.applied") :] == expected
    digest = "SELECT body::json->>'digest' FROM facts WHERE kind = 'dataset.version_committed'"
    assert psql(digest) == done["version"]["digest"]
    assert (
        psql("SELECT subject FROM facts WHERE kind = 'release.created'")
        == (done["release"]["digest"])
    )


def test_the_chain_holds_and_says_which_fact_a_hand_has_changed(done, psql, seamline):
    checked = seamline("audit", "verify")["checked"]
    assert psql("SELECT count(*) FROM facts WHERE chain_seq IS NOT NULL") == str(checked)
    fact, by = psql("SELECT id, by FROM facts WHERE kind = 'release.created'").split("|")
    psql(f"UPDATE facts SET by = 'mallory' WHERE id = '{fact}'")
    with pytest.raises(AssertionError, match=fact):
        seamline("audit", "verify")
    psql(f"UPDATE facts SET by = '{by}' WHERE id = '{fact}'")


def test_of_a_token_only_its_digest_is_kept(done, psql):
    assert psql("SELECT principal, left(token_digest, 7) FROM tokens") == "ada|sha256:"
