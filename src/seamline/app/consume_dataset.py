"""May a task read this version? What its dataset is held to now has to hold for it, too.

A version that was taken in under its contract holds by it. One that is older than the contract is
held against it by its profile: a rule that was added after the incident keeps the incident's rows
out of every later training, without anybody having to remember which versions those are.
"""

from __future__ import annotations

from seamline.data.contracts.declared import current_contract
from seamline.data.versions import DatasetVersion, version_profile
from seamline.domain.errors import Refused
from seamline.measure.casting import DType
from seamline.measure.contracts import Policy
from seamline.measure.contracts.profiled import check_profile
from seamline.store.stores import Stores


def check_input(stores: Stores, version: DatasetVersion) -> None:
    """Raises Refused where a rule of the declared contract says refuse and does not hold."""
    with stores.db.read() as connection:
        contract = current_contract(connection, version.dataset)
    if contract is None or contract.digest == version.contract_digest:
        return
    schema = {name: DType(dtype) for name, dtype in version.schema}
    found = check_profile(contract, schema, version_profile(stores, version))
    refused = [one.sentence() for one in found if one.does is Policy.REFUSE]
    if refused:
        told = "\n".join(refused)
        raise Refused(
            f"{version.reference} does not hold what dataset {version.dataset} is held to now, "
            f"and cannot be read by a task:\n{told}",
            next_step="Read another version; or say on_breach: warn in the contract, and apply it.",
            dataset=version.dataset,
            version=version.version,
        )
