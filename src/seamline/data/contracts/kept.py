"""The contracts that versions were held to: bytes by digest, so that they can be asked later."""

from __future__ import annotations

import json

from seamline.data.versions import DatasetVersion
from seamline.measure.contracts import Contract
from seamline.store.canonical import canonical_json
from seamline.store.stores import Stores


def keep_contract(stores: Stores, contract: Contract) -> str:
    """Its blob has the contract's own digest."""
    return stores.blobs.put(canonical_json(contract.to_json()))


def contract_of(stores: Stores, version: DatasetVersion) -> Contract | None:
    """What the version's delivery was held to; None for versions from before that was kept."""
    if version.contract_digest is None:
        return None
    data = stores.blobs.get(version.contract_digest, f"the contract of {version.reference}")
    return Contract.from_json(json.loads(data))
