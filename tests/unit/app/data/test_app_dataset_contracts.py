"""Contracts from a project's file to a delivery, a task, a retraining and an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from seamline.app.reactions import react
from seamline.app.retrain.retrain_on_data import on_contract_broken
from seamline.app.serve.serving_rules import ServingRules, input_rules
from seamline.app.train.resolve_uri import resolve_uri
from seamline.data.contracts.reading import read_contract
from seamline.domain.errors import Refused
from seamline.domain.facts import ContractBroken, ContractChanged
from seamline.register.models.catalogue import ModelVersion
from seamline.retrain.retrainings import find_retraining, list_retrainings
from seamline.serve.snapshots.input_rules import InputRule, ServingPolicy
from seamline.server import ControlPlane
from seamline.store.facts import read_facts
from seamline.train.context import RunContext

PROJECT = """
project = "shop"
team = "shop"

[datasets.calls]
time = "at"
keys = ["id"]
contract = "contracts/calls.yaml"

[models.demand]
pipeline = "demand-training"
output = "train.model"
samples = "train.samples"

[deployments.demand]
model = "demand"

[monitors.demand]
deployment = "demand"

[triggers.on-data]
monitor = "demand"
model = "demand"
pipeline = "demand-training"
checks = ["contract(calls)"]
[triggers.on-data.arguments]
until = "{window_end}"

[triggers.on-alarms]
monitor = "demand"
model = "demand"
pipeline = "demand-training"
"""
CONTRACT = """
on_breach: quarantine
columns:
  id: {type: int, nullable: false}
  at: {type: datetime, nullable: false}
  minutes: {type: float, at_most: 60}
  shop: {type: string, one_of: [a, b], on_breach: trigger}
"""
GOOD = b"id,at,minutes,shop\n1,2025-12-01T08:00:00Z,3,a\n"
SHIFTED = b"id,at,minutes,shop\n2,2025-12-20T08:00:00Z,99,a\n3,2025-12-21T08:00:00Z,5,c\n"
CONTEXT = RunContext("run-1", "dataops", "train", "bob", "read")
Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(plane: ControlPlane) -> Ask:
    def send(method: str, path: str, **given: Any) -> httpx.Response:
        async def one() -> httpx.Response:
            transport = httpx.ASGITransport(plane.app, client=("127.0.0.1", 5000))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://127.0.0.1:8765"
            ) as client:
                return await client.request(method, f"/api/v1{path}", **given)

        return asyncio.run(one())

    return send


@pytest.fixture
def apply(ask: Ask) -> Callable[[str], httpx.Response]:
    def send(contract: str) -> httpx.Response:
        files = {"contracts/calls.yaml": contract}
        body = {"file": "seamline.toml", "text": PROJECT, "contracts": files}
        return ask("POST", "/project/apply", json=body)

    return send


def deliver(ask: Ask, rows: bytes) -> dict[str, Any]:
    answer = ask("POST", "/datasets/calls/deliveries?source=calls.csv", content=rows)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_applying_takes_the_contracts_files_along(
    ask: Ask, apply: Callable[[str], httpx.Response], plane: ControlPlane
) -> None:
    missing = ask("POST", "/project/apply", json={"file": "seamline.toml", "text": PROJECT})
    assert missing.status_code == 400
    assert "there is no file contracts/calls.yaml" in missing.text
    wrong = apply(CONTRACT.replace("quarantine", "quarantain")).json()["error"]
    assert wrong["message"].startswith("contracts/calls.yaml:2: on_breach: 'quarantain'")
    changes = apply(CONTRACT).json()["changes"]
    assert {"sign": "~", "section": "contracts", "name": "calls"}.items() <= changes[-1].items()
    assert apply(CONTRACT).json()["changes"] == []
    (changed,) = apply(CONTRACT.replace("60", "90")).json()["changes"]
    assert (changed["section"], changed["name"]) == ("contracts", "calls")
    with plane.platform.stores.db.read() as connection:
        assert len(read_facts(connection, kinds=[ContractChanged.kind])) == 2
    dropped = PROJECT.replace('contract = "contracts/calls.yaml"\n', "")
    gone = ask("POST", "/project/apply", json={"file": "seamline.toml", "text": dropped}).json()
    assert [one["section"] for one in gone["changes"]] == ["datasets", "contracts"]


def test_what_a_delivery_broke_is_told_with_the_version(
    ask: Ask, apply: Callable[[str], httpx.Response]
) -> None:
    apply(CONTRACT)
    assert deliver(ask, GOOD)["breaches"] == []
    found = deliver(ask, SHIFTED)
    assert found["rows_quarantined"] == 1
    assert [one["policy"] for one in found["breaches"]] == ["quarantine", "trigger"]
    assert found["breaches"][1]["sentence"] == (
        "shop: 1 of 2 values are not among 'a', 'b', e.g. 'c'; first bad day 2025-12-21."
    )
    shown = ask("GET", "/datasets/calls/contract").json()
    assert shown["from"] == "contracts/calls.yaml"
    assert read_contract(shown["text"]).digest == shown["digest"]
    assert shown["newest"]["contract_digest"] == shown["digest"]
    aside = ask("GET", "/datasets/calls@2/quarantine").json()
    assert aside["rows_quarantined"] == 1
    assert [(row["row"], row["values"]["minutes"]) for row in aside["rows"]] == [(1, "99")]
    assert ask("GET", "/datasets/calls@1/quarantine").json()["rows"] == []


def test_suggested_and_exported_contracts_are_texts(
    ask: Ask, apply: Callable[[str], httpx.Response]
) -> None:
    apply(CONTRACT)
    deliver(ask, GOOD)
    text = ask("GET", "/datasets/calls@1/suggested-contract").json()["text"]
    assert text.startswith("# Contract of dataset calls, suggested from version 1 (1 rows).")
    assert [column.name for column in read_contract(text).columns] == [
        *("id", "at", "minutes", "shop")
    ]
    for form, sign in (("pandera", "import pandera.polars"), ("json-schema", '"$schema"')):
        exported = ask("GET", f"/datasets/calls/contract/export?to={form}").json()
        assert sign in exported["text"]
    assert ask("GET", "/datasets/calls/contract/export?to=excel").status_code == 400
    assert "Did you mean calls" in ask("GET", "/datasets/call/contract").text


def test_a_shift_under_trigger_asks_for_a_retraining(
    ask: Ask, apply: Callable[[str], httpx.Response], plane: ControlPlane
) -> None:
    apply(CONTRACT)
    deliver(ask, GOOD)
    deliver(ask, SHIFTED)
    stores = plane.platform.stores
    with stores.db.read() as connection:
        (fact,) = read_facts(connection, kinds=[ContractBroken.kind])
    for _ in range(2):  # at least once, and safe to do again
        on_contract_broken(plane.platform, fact)
    (made,) = list_retrainings(stores)
    assert (made["trigger"], made["window"]) == ("on-data", "2025-12")
    found = find_retraining(stores, made["id"])
    assert found.caused_by == fact.id
    assert found.arguments == {"until": "2026-01-01"}
    assert "shop: 1 of 2 values" in found.reason


def test_a_shift_of_values_retrains_once(
    ask: Ask, apply: Callable[[str], httpx.Response], plane: ControlPlane
) -> None:
    """Nothing is broken but the distribution; the reactions are those of the running server."""
    drifting = CONTRACT.replace("at_most: 60", "drift: {psi: 0.2, on_breach: trigger}")
    apply(drifting.replace(", one_of: [a, b]", ""))
    days = [f"2025-12-{day:02d}T08:00:00Z" for day in range(1, 13)]
    rows = [f"{n},{day},{n % 20},a" for n, day in enumerate(day for day in days for _ in range(20))]
    deliver(ask, "\n".join(["id,at,minutes,shop", *rows]).encode())
    more = [f"{900 + n},2025-12-{20 + n % 2}T08:00:00Z,{n % 2},a" for n in range(200)]
    (broken,) = deliver(ask, "\n".join(["id,at,minutes,shop", *more]).encode())["breaches"]
    assert (broken["kind"], broken["policy"]) == ("drift", "trigger")
    stores = plane.platform.stores
    with stores.db.read() as connection:
        facts = list(read_facts(connection))
    for fact in [*facts, *facts]:
        if fact.kind == ContractBroken.kind:
            react(plane.platform, fact)
    (made,) = list_retrainings(stores)
    found = find_retraining(stores, made["id"])
    assert "minutes: the values have shifted more than PSI 0.2" in found.reason


def test_a_task_cannot_read_what_the_contract_refuses_now(
    ask: Ask, apply: Callable[[str], httpx.Response], plane: ControlPlane
) -> None:
    stores = plane.platform.stores
    apply(CONTRACT)
    deliver(ask, GOOD)
    assert resolve_uri(stores, "datasets://calls@1", CONTEXT).metadata["version"] == 1
    apply(CONTRACT.replace("quarantine", "refuse").replace("60", "2"))
    with pytest.raises(Refused, match=r"calls@1 does not hold .*\n.*minutes: 1 of 1 values") as bad:
        resolve_uri(stores, "datasets://calls@1", CONTEXT)
    assert bad.value.details["version"] == 1
    apply(CONTRACT.replace("quarantine", "warn").replace("60", "2"))
    assert resolve_uri(stores, "datasets://calls@1", CONTEXT).metadata["version"] == 1


def test_an_endpoint_is_held_to_the_contract_of_its_training_data(
    ask: Ask, apply: Callable[[str], httpx.Response], plane: ControlPlane
) -> None:
    apply(CONTRACT)
    deliver(ask, GOOD)
    apply(CONTRACT.replace("60", "90"))  # of later versions: the model did not learn from it
    inputs = [
        {"name": "id", "datatype": "INT64"},
        {"name": "minutes", "datatype": "FP64", "nullable": True},
        {"name": "shop", "datatype": "BYTES", "nullable": True},
        {"name": "made_up", "datatype": "FP64"},
    ]
    model = ModelVersion(
        model="demand",
        version="1.0.1",
        filename="demand.whl",
        wheel_digest="sha256:00",
        payload_digest="sha256:00",
        statement_digest="sha256:00",
        run_id="r",
        family="demand",
        document={"signature": {"inputs": inputs}},
        dataset_versions=("elsewhere@1", "calls@1"),
        registered_by="ada",
        registered_at="2026-01-01T00:00:00.000000Z",
    )
    stores = plane.platform.stores
    found = input_rules(stores, model, ServingPolicy.WARN)
    assert found == ServingRules(
        (
            InputRule("minutes", high=60.0, dtype="float"),
            InputRule("shop", values=("a", "b"), dtype="string", missing=("", "NA", "NaN")),
        )
    )
    assert all(rule.refuse for rule in input_rules(stores, model, ServingPolicy.REFUSE).rules)
    assert input_rules(stores, model, ServingPolicy.IGNORE) == ServingRules()
