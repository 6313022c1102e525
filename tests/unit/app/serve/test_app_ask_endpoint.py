"""The control plane asks an endpoint for those who may ask it themselves, and for nobody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from seamline.app.serve.ask_endpoint import authorization_for
from seamline.domain.errors import Forbidden
from seamline.domain.states import Role
from seamline.serve.callers.access import Access
from seamline.serve.metrics import Metrics
from seamline.server import ControlPlane
from seamline.trust.roles import Grant, Principal, Scope, Verb

APP = Principal("app", frozenset(), grants=frozenset({Grant(Role.CALLER, None, "staging")}))
READER = Principal("ada", frozenset({Role.ADMIN}), scope=Scope(verbs=frozenset({Verb.READ})))


def test_the_plane_knows_whom_it_is_asked_for(plane: ControlPlane) -> None:
    platform = plane.platform
    platform.access.look()
    public = Path(platform.root) / "keys" / "signing.pub"
    access = Access(platform.root, public, Metrics(), platform.stores.clock, is_required=True)
    header = authorization_for(platform, APP, "staging", "late")
    caller = asyncio.run(access.caller_of(header))
    caller.check(Verb.PREDICT, "staging", "late")
    assert caller.name == "app"


LIMITED = replace(APP, scope=Scope(endpoints=frozenset({"early"})))


@pytest.mark.parametrize(
    ("who", "environment"), [(APP, "production"), (READER, "staging"), (LIMITED, "staging")]
)
def test_nobody_asks_through_it_what_they_may_not_ask(
    plane: ControlPlane, who: Principal, environment: str
) -> None:
    with pytest.raises(Forbidden, match=r"may|endpoints early"):
        authorization_for(plane.platform, who, environment, "late")
