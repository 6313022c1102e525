"""The contracts that projects declare: kept as they were written, and what a dataset is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, insert, select

from seamline.data.contracts.reading import read_contract
from seamline.data.declaration import DatasetDeclaration
from seamline.data.rows import DATASET_CONTRACTS
from seamline.data.versions import find_dataset
from seamline.domain.errors import Conflict, InvalidInput
from seamline.domain.facts import ContractChanged
from seamline.measure.contracts import Contract, Policy
from seamline.store.facts import FactLog


@dataclass(frozen=True)
class DeclaredContract:
    dataset: str
    file: str
    text: str
    contract: Contract


@dataclass(frozen=True)
class ContractChange:
    """`now` is None where a dataset is no longer held to a file."""

    dataset: str
    now: DeclaredContract | None
    before: str | None

    def sentence(self) -> str:
        """
        >>> ContractChange("calls", None, "sha256:aaaabbbbccccdddd").sentence()
        'aaaabbbbcccc → none'
        """
        digests = (self.before, None if self.now is None else self.now.contract.digest)
        was, now = ("none" if one is None else one[7:19] for one in digests)
        return f"{was} → {now}" if was != now else "comments only"


def read_declared_contracts(
    declarations: Mapping[str, DatasetDeclaration], texts: Mapping[str, str]
) -> dict[str, DeclaredContract]:
    """`texts`: the files by path. Raises InvalidInput with file and line for what does not read,
    and where a dataset's file is not among them."""
    found = {}
    for name, one in declarations.items():
        if one.contract is None:
            continue
        if one.contract not in texts:
            raise InvalidInput(
                f"Dataset {name}: there is no file {one.contract}.",
                next_step=f"seamline data contract infer {name} --out {one.contract}",
            )
        text = texts[one.contract]
        contract = read_contract(text, one.contract, one.null_values)
        check_declared_names(contract, one)
        found[name] = DeclaredContract(name, one.contract, text, contract)
    return found


def check_declared_names(contract: Contract, declaration: DatasetDeclaration) -> None:
    """The columns that the declaration names have to be in the contract."""
    absent = [name for name in declaration.named_columns if contract.column(name) is None]
    if absent:
        raise InvalidInput(
            f"{declaration.contract}: dataset {declaration.name} declares the column "
            f"{absent[0]!r}; its contract has none of that name.",
            next_step=f"Add {absent[0]}: {{type: …}} to columns.",
        )
    if contract.freshness is not None and not declaration.has_event_day:
        raise InvalidInput(
            f"{declaration.contract}: freshness is the age of the newest event, and dataset "
            f"{declaration.name} declares neither time nor date.",
            next_step="Declare which column says when, or take freshness out.",
        )
    if contract.unique_in_table and not declaration.keys:
        raise InvalidInput(
            f"{declaration.contract}: dataset {declaration.name} declares no keys.",
            next_step='Add keys = ["…"] to the dataset.',
        )


def plan_contracts(
    connection: Connection, declared: Mapping[str, DeclaredContract], owned: Mapping[str, object]
) -> list[ContractChange]:
    """`owned`: all datasets of the project, now and before."""
    rows = connection.execute(select(DATASET_CONTRACTS)).mappings()
    kept = {row["dataset"]: row for row in rows}
    changes = [
        ContractChange(name, one, kept[name]["digest"] if name in kept else None)
        for name, one in declared.items()
        if name not in kept
        or (kept[name]["text"], kept[name]["file"]) != (one.text, one.file)
        # The file is the same, and the dataset's null_values are not.
        or kept[name]["digest"] != one.contract.digest
    ]
    gone = [name for name in kept if name in owned and name not in declared]
    return changes + [ContractChange(name, None, kept[name]["digest"]) for name in sorted(gone)]


def record_contracts(
    tx: Connection, facts: FactLog, changes: list[ContractChange], *, by: str, at: str
) -> None:
    for change in changes:
        now, name = change.now, change.dataset
        tx.execute(delete(DATASET_CONTRACTS).where(DATASET_CONTRACTS.c.dataset == name))
        if now is not None:
            digest = now.contract.digest
            row = {"dataset": name, "digest": digest, "file": now.file, "text": now.text}
            tx.execute(insert(DATASET_CONTRACTS).values(**row, applied_by=by, at=at))
        digest_now = None if now is None else now.contract.digest
        if digest_now != change.before:
            file = "" if now is None else now.file
            fact = ContractChanged(name, file, digest_now or "", change.before or "")
            facts.append(tx, fact, by=by)


def find_declared(connection: Connection, declaration: DatasetDeclaration) -> Contract | None:
    """What the dataset is held to by its project; None where it declares no contract.

    An environment's own copy of a dataset (NAME-ENVIRONMENT) is held to that of NAME.
    """
    if declaration.contract is None:
        return None
    # Both halves may have a - of their own: calls-web-pre-production.
    parts = declaration.name.split("-")
    names = ["-".join(parts[:n]) for n in range(len(parts), 0, -1)]
    table = DATASET_CONTRACTS
    query = select(table).where(table.c.dataset.in_(names), table.c.file == declaration.contract)
    rows = {row.dataset: row for row in connection.execute(query)}
    row = next((rows[name] for name in names if name in rows), None)
    if row is None:
        raise Conflict(
            f"The contract {declaration.contract} of dataset {declaration.name} was not applied.",
            next_step="seamline apply",
        )
    return read_contract(row.text, row.file, declaration.null_values)


def current_contract(connection: Connection, dataset: str) -> Contract | None:
    """What a file declares for this dataset; None where its first delivery made its contract."""
    kept = find_dataset(connection, dataset)
    if kept is None or kept.declaration.contract is None:
        return None
    try:
        return find_declared(connection, kept.declaration)
    except Conflict:
        return None  # no longer declared


def standing_contract(
    connection: Connection, declaration: DatasetDeclaration, inferred: Contract | None
) -> Contract | None:
    """What the next delivery is held to; None: nothing yet, so the delivery makes it."""
    found = find_declared(connection, declaration)
    if found is not None or inferred is None:
        return found
    return with_policy(replace(inferred, null_values=declaration.null_values), declaration)


def with_policy(inferred: Contract, declaration: DatasetDeclaration) -> Contract:
    return replace(inferred, on_breach=declaration.on_breach or Policy.REFUSE)
