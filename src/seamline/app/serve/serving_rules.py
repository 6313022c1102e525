"""What an endpoint's inputs are held to: the contract of the data that its model learned from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from seamline.data.contracts.kept import contract_of
from seamline.data.versions import find_version
from seamline.domain.errors import InvalidInput, NotFound
from seamline.measure.contracts import Column, Contract, Policy, RowRule
from seamline.measure.rules.arrays import compile_rule
from seamline.measure.rules.cells import CellKind, can_read
from seamline.measure.rules.patterns import linear_pattern
from seamline.promote.shipments import received_contract
from seamline.register.models.catalogue import ModelVersion
from seamline.serve.snapshots.input_rules import InputExpression, InputRule, ServingPolicy
from seamline.store.stores import Stores


@dataclass(frozen=True)
class ServingRules:
    """`left_out` says of each rule over the model's inputs that no endpoint can ask, why."""

    rules: tuple[InputRule, ...] = ()
    expressions: tuple[InputExpression, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Input:
    datatype: str
    nullable: bool


def input_rules(stores: Stores, model: ModelVersion, policy: ServingPolicy) -> ServingRules:
    """By name: a column of the training data that the model takes as an input, and each rule over
    such columns alone.

    The contract is the one that the training versions were held to: they are part of the release,
    so the rules are the same in every environment. None for `ignore`.
    """
    if policy is ServingPolicy.IGNORE:
        return ServingRules()
    inputs = {
        one["name"]: _Input(one["datatype"], one.get("nullable", False)) for one in _inputs(model)
    }
    rules: dict[str, InputRule] = {}
    expressions: dict[str, InputExpression] = {}
    left_out: list[str] = []
    for contract in _contracts(stores, model):
        for column in contract.columns:
            if column.name in inputs and column.name not in rules:
                rule = _column_rule(contract, column, inputs[column.name], policy, left_out)
                rules |= {} if rule is None else {column.name: rule}
        for one in contract.rules:
            expression = _expression(contract, one, inputs, policy, left_out)
            expressions |= {} if expression is None else {one.name: expression}
    return ServingRules(tuple(rules.values()), tuple(expressions.values()), tuple(left_out))


def _column_rule(
    contract: Contract, column: Column, sent: _Input, policy: ServingPolicy, left_out: list[str]
) -> InputRule | None:
    """None where it says nothing that the model's signature does not."""
    kind = CellKind(column.dtype)
    if not can_read(kind, sent.datatype):
        left_out.append(f"{column.name}: {column.dtype} in the contract, {sent.datatype} here")
        return None
    pattern = column.pattern
    try:
        _ = pattern is None or linear_pattern(pattern)
    except InvalidInput as error:
        left_out.append(f"{column.name}: {error.message}")
        pattern = None
    is_text = sent.datatype == "BYTES"
    rule = InputRule(
        column.name,
        column.low if column.is_bounded else None,
        column.high if column.is_bounded else None,
        column.values,
        # The signature refuses nulls of its own, and does not know texts that mean one.
        nullable=column.nullable or not (sent.nullable or is_text),
        refuse=_refuses(policy, contract, column.on_breach),
        dtype=str(column.dtype),
        pattern=pattern,
        missing=contract.null_values if is_text else (),
    )
    says = (rule.low, rule.high, rule.values, rule.pattern) != (None, None, None, None)
    can_be_mistyped = (is_text and kind is not CellKind.STRING) or (
        kind is CellKind.INT and sent.datatype.startswith("FP")
    )
    return rule if says or can_be_mistyped or not rule.nullable else None


def _expression(
    contract: Contract,
    rule: RowRule,
    inputs: Mapping[str, _Input],
    policy: ServingPolicy,
    left_out: list[str],
) -> InputExpression | None:
    """None where it names a column that is no input of the model: then it cannot be told."""
    kinds = {column.name: CellKind(column.dtype) for column in contract.columns}
    try:
        named = compile_rule(rule.holds, kinds).columns
        if not named or any(name not in inputs for name in named):
            return None
        unread = [name for name in named if not can_read(kinds[name], inputs[name].datatype)]
        if unread:
            raise InvalidInput(f"{unread[0]} is {inputs[unread[0]].datatype} here.")
    except InvalidInput as error:
        left_out.append(f"rule {rule.name}: {error.message}")
        return None
    return InputExpression(
        rule.name,
        rule.holds,
        tuple((name, str(kinds[name])) for name in named),
        refuse=_refuses(policy, contract, rule.on_breach),
        missing=contract.null_values,
    )


def _refuses(policy: ServingPolicy, contract: Contract, own: Policy | None) -> bool:
    """A request has no rows to set aside: what would be is refused."""
    if policy is ServingPolicy.CONTRACT:
        return contract.policy(own) in (Policy.REFUSE, Policy.QUARANTINE)
    return policy is ServingPolicy.REFUSE


def _inputs(model: ModelVersion) -> list[dict[str, Any]]:
    return list(model.document["signature"]["inputs"])


def _contracts(stores: Stores, model: ModelVersion) -> Iterator[Contract]:
    lineage = model.document.get("lineage", {}).get("dataset_versions", ())
    trained_on = {f"{one['name']}@{one['version']}": one["digest"] for one in lineage}
    for reference in model.dataset_versions:
        contract = _contract(stores, reference, trained_on.get(reference))
        if contract is not None:
            yield contract


def _contract(stores: Stores, reference: str, digest: str | None) -> Contract | None:
    """`digest`: of the version as the model saw it; of that name another may be here."""
    with suppress(NotFound):  # registered elsewhere: its data never was here
        version = find_version(stores, reference)
        if digest in (None, version.digest):
            return contract_of(stores, version)
    if digest is None:
        return None
    # Trained on another server: what its data was held to came with the release.
    with stores.db.read() as connection:
        received = received_contract(connection, digest)
    if received is None:
        return None
    return Contract.from_json(json.loads(stores.blobs.get(received, f"contract of {reference}")))
