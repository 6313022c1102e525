"""In whose name the control plane asks an endpoint: theirs who asked the control plane to."""

from __future__ import annotations

from datetime import timedelta

from seamline.app.platform import Platform
from seamline.domain.clock import iso
from seamline.domain.errors import Forbidden
from seamline.serve.callers.passes import LIFETIME_S, Pass, write_pass
from seamline.trust.refusals import require, require_environments
from seamline.trust.roles import Principal, Verb


def authorization_for(platform: Platform, who: Principal, environment: str, endpoint: str) -> str:
    """The Authorization header of a request to this endpoint, good for a minute. Raises Forbidden
    where they may not ask it."""
    require(who, Verb.PREDICT)
    require_environments(who, Verb.PREDICT, {environment})
    endpoints = who.scope.endpoints
    if endpoints is not None and endpoint not in endpoints:
        raise Forbidden(
            f"This token of {who.name} is for the endpoints {', '.join(sorted(endpoints))}.",
            next_step="Ask one of those, or use a token for this one.",
        )
    expires_at = iso(platform.stores.clock.now() + timedelta(seconds=LIFETIME_S))
    return write_pass(Pass(who.name, environment, endpoint, expires_at), platform.key)
