"""Keys that approvers sign with: each registers their own, an admin ends them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict

from seamline.protocols.native.access import Admin, PlatformOf, Reader
from seamline.trust.approver_keys import add_approver_key, end_approver_key, list_approver_keys
from seamline.trust.key_files import read_public_key
from seamline.trust.refusals import require
from seamline.trust.roles import Principal, Verb

ROUTER = APIRouter()


class NewKey(BaseModel):
    """`public_key`: PEM, `ssh-ed25519 …`, or the raw key in base64."""

    model_config = ConfigDict(extra="forbid")

    public_key: str


def _approver(who: Reader) -> Principal:
    """Whoever may approve somewhere; a key is for each environment."""
    require(who, Verb.APPROVE)
    return who


SomeApprover = Annotated[Principal, Depends(_approver)]


@ROUTER.post("/approver-keys")
def add(platform: PlatformOf, who: SomeApprover, body: NewKey) -> dict[str, Any]:
    """The caller's own, whoever they are: no admin signs for somebody else."""
    public, stores = read_public_key(body.public_key), platform.stores
    with stores.db.transaction() as tx:
        added = add_approver_key(tx, stores.facts, stores.clock, who.name, public, by=who.name)
    return added.to_json()


@ROUTER.get("/approver-keys")
def list_(platform: PlatformOf, who: Reader) -> list[dict[str, Any]]:
    with platform.stores.db.read() as connection:
        return [one.to_json() for one in list_approver_keys(connection)]


@ROUTER.delete("/approver-keys/{key_id}")
def end(platform: PlatformOf, who: Admin, key_id: str) -> dict[str, Any]:
    """What it signed before still holds."""
    stores = platform.stores
    with stores.db.transaction() as tx:
        ended = end_approver_key(tx, stores.facts, stores.clock, key_id, by=who.name)
    return ended.to_json()
