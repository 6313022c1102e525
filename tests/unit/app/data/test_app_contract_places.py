"""Every term of a contract, whatever its policy, where it is enforced: the table of
docs/reference/contracts.md, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seamline.app.serve.serving_rules import input_rules
from seamline.app.train.resolve_uri import resolve_uri
from seamline.data.contracts.declared import (
    plan_contracts,
    read_declared_contracts,
    record_contracts,
)
from seamline.data.contracts.quarantine import read_quarantine
from seamline.data.declaration import DatasetDeclaration, Mode
from seamline.data.ingest import ingest
from seamline.data.rows import DATASETS
from seamline.data.versions import DatasetVersion, read_version
from seamline.data.versions import read as reading
from seamline.domain.clock import ManualClock, iso
from seamline.domain.errors import InvalidInput, Refused
from seamline.domain.facts import ContractBroken
from seamline.register.models.catalogue import ModelVersion
from seamline.serve.snapshots.input_rules import ServingPolicy, check_inputs
from seamline.store.facts import read_facts
from seamline.store.schema import METADATA
from seamline.store.stores import Stores, open_stores
from seamline.train.context import RunContext

CONTEXT = RunContext("run-1", "dataops", "train", "bob", "read")
CALLS = DatasetDeclaration("calls", time="at", keys=("id",))
BARE = """
on_breach: {policy}
columns:
  id: {{type: int, nullable: false}}
  at: {{type: datetime, nullable: false}}
  n: int
  x: float
  s: string
"""
#: Twelve days of rows that keep every rule below; the days are what drift is told by.
GOOD = [
    f"{day * 20 + row},2025-12-{day:02d}T08:00:00Z,{row},{row}.5,a{row}"
    for day in range(1, 13)
    for row in range(20)
]
NEXT = "2025-12-20T08:00:00Z"
#: A term: what it adds to the contract, and a delivery with one row (or as a whole) that breaks it.
OF_ROWS = {
    "type": ("n: int", "n: {type: int}", f"900,{NEXT},many,1,a1\n901,{NEXT},1,1,a1"),
    "null": (
        "x: float",
        "x: {type: float, nullable: false}",
        f"900,{NEXT},1,,a1\n901,{NEXT},1,1,a1",
    ),
    "range": ("n: int", "n: {type: int, at_most: 50}", f"900,{NEXT},51,1,a1\n901,{NEXT},1,1,a1"),
    "values": (
        "n: int",
        f"n: {{type: int, one_of: {[*range(20)]}}}",
        f"900,{NEXT},77,1,a1\n901,{NEXT},1,1,a1",
    ),
    "pattern": (
        "s: string",
        r"s: {type: string, matches: '[a-z]\d+'}",
        f"900,{NEXT},1,1,A1\n901,{NEXT},1,1,a1",
    ),
    "rule": (
        "s: string",
        "s: string\nrules: [{name: order, holds: x >= n}]",
        f"900,{NEXT},9,1,a1\n901,{NEXT},1,1,a1",
    ),
}
OF_DELIVERIES = {
    "column": ("s: string", "s: string\n  gone: int", f"900,{NEXT},1,1,a1"),
    "keys": ("s: string", "s: string", f"900,{NEXT},1,1,a1\n900,{NEXT},1,1,a1"),
    "unique": (
        "x: float",
        "x: {type: float, unique: true}",
        f"900,{NEXT},1,7,a1\n901,{NEXT},1,7,a1",
    ),
    "in table": ("s: string", "s: string\nkeys: {unique_in: table}", f"30,{NEXT},1,1,a1"),
    "rows": ("s: string", "s: string\nrows: {at_least: 2}", f"900,{NEXT},1,1,a1"),
    "fresh": ("s: string", "s: string\nfreshness: {max_age: 100d}", "900,2025-01-01,1,1,a1"),
    "drift": (
        "n: int",
        "n: {type: int, drift: 0.2}",
        "\n".join(f"{900 + row},{NEXT},{row % 2},1,a1" for row in range(200)),
    ),
}
ALL = OF_ROWS | OF_DELIVERIES
POLICIES = ("refuse", "quarantine", "trigger", "warn")
Apply = Callable[[str], DatasetDeclaration]


@pytest.fixture
def stores(tmp_path: Path, clock: ManualClock) -> Iterator[Stores]:
    assert DATASETS in METADATA.sorted_tables
    opened = open_stores(tmp_path / "workspace", clock)
    yield opened
    opened.db.close()


@pytest.fixture
def apply(stores: Stores) -> Apply:
    """Holds the dataset to a contract, as `seamline apply` does."""

    def declare(text: str) -> DatasetDeclaration:
        held = replace(CALLS, contract="calls.yaml")
        with stores.db.transaction() as tx:
            declared = read_declared_contracts({"calls": held}, {"calls.yaml": text})
            changes = plan_contracts(tx, declared, {"calls": held})
            record_contracts(tx, stores.facts, changes, by="ada", at=iso(stores.clock.now()))
        return held

    return declare


def contract(term: str, policy: str) -> str:
    bare, with_term, _ = ALL[term]
    return BARE.format(policy=policy).replace(f"  {bare}\n", f"  {with_term}\n")


def bring(
    stores: Stores, declaration: DatasetDeclaration, folder: Path, rows: str
) -> DatasetVersion:
    path = folder / f"{len(list(folder.glob('*.csv')))}.csv"
    path.write_text(f"id,at,n,x,s\n{rows}\n")
    return ingest(stores, declaration, path, source=path.name, by="ada").version


def broken_facts(stores: Stores) -> list[list[str]]:
    with stores.db.read() as connection:
        return [one.body["triggers"] for one in read_facts(connection, kinds=[ContractBroken.kind])]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("term", ALL)
def test_at_a_commit(stores: Stores, apply: Apply, tmp_path: Path, term: str, policy: str) -> None:
    bare = apply(BARE.format(policy="refuse"))
    bring(stores, bare, tmp_path, "\n".join(GOOD))
    if term == "column":  # the table has it; the delivery will not
        bare = replace(bare, mode=Mode.REPLACE)
    held = replace(apply(contract(term, policy)), mode=bare.mode)
    rows = ALL[term][2]
    if policy == "refuse" or (policy == "quarantine" and term not in OF_ROWS):
        with pytest.raises(Refused):
            bring(stores, held, tmp_path, rows)
        assert broken_facts(stores) == []
        return
    version = bring(stores, held, tmp_path, rows)
    (broken,) = version.breaches
    assert broken.does == policy
    aside = read_quarantine(stores, version)
    assert [row["row"] for row in aside] == ([1] if policy == "quarantine" else [])
    assert version.rows_added == rows.count("\n") + 1 - len(aside)
    assert broken_facts(stores) == [[broken.sentence()] if policy == "trigger" else []]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("term", [*OF_ROWS, "in table"])
def test_at_a_tasks_input(
    stores: Stores, apply: Apply, tmp_path: Path, term: str, policy: str
) -> None:
    """The rows came before the rule."""
    before = apply(BARE.format(policy="warn"))
    bring(stores, before, tmp_path, "\n".join(GOOD))
    bring(stores, before, tmp_path, ALL[term][2])
    held = apply(contract(term, policy))
    # A delivery under the new contract does not make the rows before it good.
    bring(stores, held, tmp_path, f"950,{NEXT},1,1.5,a1")
    if policy in ("refuse", "quarantine"):
        for _ in range(2):
            with pytest.raises(Refused, match=r"calls@3 does not hold .* now"):
                resolve_uri(stores, "datasets://calls@3", CONTEXT)
    else:
        found = resolve_uri(stores, "datasets://calls@3", CONTEXT).metadata
        (said,) = found["contract_breaches"]
        assert f"{2 if term == 'in table' else 1} of " in said
    if term not in ("in table", "type"):
        good = resolve_uri(stores, "datasets://calls@1", CONTEXT).metadata
        assert good == {"dataset": "calls", "version": 1}


@pytest.mark.parametrize("term", ["rows", "fresh", "drift", "unique"])
def test_what_is_said_of_deliveries_is_not_asked_of_versions(
    stores: Stores, apply: Apply, tmp_path: Path, term: str
) -> None:
    bare = apply(BARE.format(policy="refuse"))
    bring(stores, bare, tmp_path, "\n".join(GOOD))
    bring(stores, bare, tmp_path, ALL[term][2])
    apply(contract(term, "refuse"))
    assert "contract_breaches" not in resolve_uri(stores, "datasets://calls@2", CONTEXT).metadata


def test_rows_are_read_once_and_only_where_they_came_under_something_else(
    stores: Stores, apply: Apply, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = apply(BARE.format(policy="refuse"))
    first = bring(stores, bare, tmp_path, "\n".join(GOOD))
    held = apply(contract("pattern", "refuse"))
    second = bring(stores, held, tmp_path, f"950,{NEXT},1,1.5,a1")
    files = {file.relative for file in reading.version_files(stores, first)}
    read: list[str] = []
    genuine = reading.read_file

    def noting(stores: Stores, version: DatasetVersion, file: object, columns: object) -> object:
        read.append(file.relative)
        return genuine(stores, version, file, columns)

    monkeypatch.setattr("seamline.data.contracts.held.read_file", noting)
    for _ in range(2):  # the second task asks nothing
        resolve_uri(stores, second.uri, CONTEXT)
    assert sorted(read) == sorted(files)
    third = bring(stores, held, tmp_path, f"951,{NEXT},1,1.5,a2")
    resolve_uri(stores, third.uri, CONTEXT)  # nor does the next version
    assert len(read) == len(files)
    apply(contract("pattern", "warn"))
    resolve_uri(stores, third.uri, CONTEXT)
    assert len(read) == 2 * len(files) + 2
    assert read_version(stores, third).height == 242


GOOD_INPUTS = {"n": np.array([1.0]), "x": np.array([2.0]), "s": ["a1"]}
BAD_INPUTS = {
    "type": {"n": np.array([1.5])},
    "null": {"x": np.array([np.nan])},
    "range": {"n": np.array([51.0])},
    "values": {"n": np.array([77.0])},
    "pattern": {"s": ["A1"]},
    "rule": {"n": np.array([9.0]), "x": np.array([1.0])},
}
MODEL = ModelVersion(
    *("demand", "1.0.1", "demand.whl", "sha256:00", "sha256:00", "sha256:00", "r", "demand"),
    document={
        "signature": {
            "inputs": [
                {"name": "n", "datatype": "FP64", "nullable": True},
                {"name": "x", "datatype": "FP64", "nullable": True},
                {"name": "s", "datatype": "BYTES"},
            ]
        }
    },
    dataset_versions=("calls@1",),
    registered_by="ada",
    registered_at="2026-01-01T00:00:00.000000Z",
)


@pytest.mark.parametrize("at_endpoint", ServingPolicy)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("term", OF_ROWS)
def test_at_an_endpoint(
    stores: Stores,
    apply: Apply,
    tmp_path: Path,
    term: str,
    policy: str,
    at_endpoint: ServingPolicy,
) -> None:
    bring(stores, apply(contract(term, policy)), tmp_path, GOOD[0])
    found = input_rules(stores, MODEL, at_endpoint)
    assert found.left_out == ()
    assert check_inputs(GOOD_INPUTS, found.rules, found.expressions) == []
    bad = GOOD_INPUTS | BAD_INPUTS[term]
    is_refused = at_endpoint is ServingPolicy.REFUSE or (
        at_endpoint is ServingPolicy.CONTRACT and policy in ("refuse", "quarantine")
    )
    if is_refused:
        with pytest.raises(InvalidInput, match="contract"):
            check_inputs(bad, found.rules, found.expressions)
    else:
        counted = [one.what for one in check_inputs(bad, found.rules, found.expressions)]
        assert counted == ([] if at_endpoint is ServingPolicy.IGNORE else [term])
