"""Pins of warehouse tables: numbered, told as facts, and the same pin is the same number."""

from __future__ import annotations

from dataclasses import replace

from seamline.data.pins import list_pins, record_pin
from seamline.data.sources.warehouses.pins import Pin, PinKind
from seamline.store.facts import read_facts
from seamline.store.stores import Stores

PIN = Pin(
    uri="databricks://host/main/web/orders",
    kind=PinKind.VERSION,
    value="7",
    statement="SELECT * FROM `main`.`web`.`orders` VERSION AS OF 7",
    columns=(("id", "bigint"), ("who", "string")),
    rows=2,
)


def test_a_pin_is_kept_once(stores: Stores) -> None:
    first, is_new = record_pin(stores, "orders", PIN, by="ada")
    assert (first.number, first.pin, is_new) == (1, PIN, True)
    again, is_new = record_pin(stores, "orders", PIN, by="grace")
    assert (again, is_new) == (first, False)
    second, is_new = record_pin(stores, "orders", replace(PIN, value="8"), by="ada")
    assert (second.number, is_new) == (2, True)
    other, _ = record_pin(stores, "others", PIN, by="ada")
    assert other.number == 1
    assert [one.number for one in list_pins(stores, "orders")] == [2, 1]
    assert list_pins(stores, "orders")[1] == first
    with stores.db.read() as connection:
        facts = list(read_facts(connection, kinds=["dataset.pinned"]))
    assert [(one.body["dataset"], one.body["number"], one.body["pin"]) for one in facts] == [
        ("orders", 1, "version 7"),
        ("orders", 2, "version 8"),
        ("others", 1, "version 7"),
    ]
