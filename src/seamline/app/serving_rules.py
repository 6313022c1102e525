"""What an endpoint's inputs are held to: the contract of the data that its model learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seamline.data.contracts.kept import contract_of
from seamline.data.versions import find_version
from seamline.domain.errors import NotFound
from seamline.measure.contracts import Column
from seamline.register.models.catalogue import ModelVersion
from seamline.serve.input_rules import InputRule, ServingPolicy
from seamline.store.stores import Stores


def input_rules(
    stores: Stores, model: ModelVersion, policy: ServingPolicy
) -> tuple[InputRule, ...]:
    """By name: a column of the training data that the model takes as an input.

    The contract is the one that the training versions were held to: they are part of the release,
    so the rules are the same in every environment. None for `ignore`.
    """
    if policy is ServingPolicy.IGNORE:
        return ()
    inputs = {one["name"]: one.get("nullable", False) for one in _inputs(model)}
    found: dict[str, InputRule] = {}
    for column in _columns(stores, model):
        if column.name not in inputs:
            continue
        rule = InputRule(
            column.name,
            column.low if column.is_bounded else None,
            column.high if column.is_bounded else None,
            column.values,
            # What the signature refuses need not be looked for again.
            nullable=column.nullable or not inputs[column.name],
            refuse=policy is ServingPolicy.REFUSE,
        )
        if rule.says_something:
            found.setdefault(column.name, rule)
    return tuple(found.values())


def _inputs(model: ModelVersion) -> list[dict[str, Any]]:
    return list(model.document["signature"]["inputs"])


def _columns(stores: Stores, model: ModelVersion) -> Iterator[Column]:
    for reference in model.dataset_versions:
        try:
            contract = contract_of(stores, find_version(stores, reference))
        except NotFound:
            continue  # registered elsewhere: its data never was here
        yield from () if contract is None else contract.columns
