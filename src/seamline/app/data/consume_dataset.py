"""May a task read this version? What its dataset is held to now has to hold for it, too.

Rows that were taken in under today's contract hold by it. Those that are older are held against
it: a rule that was added after the incident keeps the incident's rows out of every later
training, without anybody having to remember which versions those are.
"""

from __future__ import annotations

from seamline.data.contracts.declared import current_contract
from seamline.data.contracts.held import breaches_of
from seamline.data.versions import DatasetVersion
from seamline.domain.errors import Refused
from seamline.measure.contracts import Policy
from seamline.store.stores import Stores


def check_input(stores: Stores, version: DatasetVersion) -> list[str]:
    """What the version breaks of the declared contract and may be read with, in sentences.

    Raises Refused where a rule says refuse. So it does for quarantine: of a version, which is what
    it is for ever, no row can be set aside.
    """
    with stores.db.read() as connection:
        contract = current_contract(connection, version.dataset)
    if contract is None:
        return []
    found = breaches_of(stores, version, contract)
    refused = [one for one in found if one.does in (Policy.REFUSE, Policy.QUARANTINE)]
    if not refused:
        return [one.sentence() for one in found]
    told = "\n".join(one.sentence() for one in refused)
    aside = any(one.does is Policy.QUARANTINE for one in refused)
    raise Refused(
        f"{version.reference} does not hold what dataset {version.dataset} is held to now, "
        f"and cannot be read by a task:\n{told}"
        + ("\nNo row of a version that is there already can be set aside." if aside else ""),
        next_step='Read another version; deliver the table anew with mode = "replace"; or say '
        "on_breach: warn in the contract, and apply it.",
        dataset=version.dataset,
        version=version.version,
    )
