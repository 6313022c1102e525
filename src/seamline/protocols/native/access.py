"""What endpoints of the native API share: the platform and who is asking."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.concurrency import run_in_threadpool

from seamline.app.platform import Platform
from seamline.protocols.environment_scope import json_of
from seamline.protocols.identity import caller_who_may
from seamline.trust.roles import Principal, Verb


def _platform(request: Request) -> Platform:
    platform: Platform = request.app.state.platform
    return platform


PlatformOf = Annotated[Platform, Depends(_platform)]

MAX_WAIT_S = 25.0
#: How many of a list, and from which byte of a log.
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, lt=1 << 53)]


def who_may(verb: Verb) -> Any:
    """A dependency: the caller, whose roles and token allow `verb` in this request."""

    async def check(request: Request) -> Principal:
        body = await json_of(request)
        return await run_in_threadpool(caller_who_may, request, verb, body)

    return Depends(check)


Reader = Annotated[Principal, who_may(Verb.READ)]
Ingester = Annotated[Principal, who_may(Verb.INGEST)]
Publisher = Annotated[Principal, who_may(Verb.PUBLISH)]
Runner = Annotated[Principal, who_may(Verb.RUN)]
Evaluator = Annotated[Principal, who_may(Verb.EVALUATE)]
Releaser = Annotated[Principal, who_may(Verb.RELEASE)]
Requester = Annotated[Principal, who_may(Verb.REQUEST_PROMOTION)]
Approver = Annotated[Principal, who_may(Verb.APPROVE)]
RollingBack = Annotated[Principal, who_may(Verb.ROLL_BACK)]
GlassBreaker = Annotated[Principal, who_may(Verb.BREAK_GLASS)]
SecretKeeper = Annotated[Principal, who_may(Verb.SET_TRAINING_SECRETS)]
ProjectOwner = Annotated[Principal, who_may(Verb.APPLY_PROJECT)]
Admin = Annotated[Principal, who_may(Verb.ADMINISTER)]


def await_state(
    platform: Platform, state: Callable[[], object], ends: Collection[object], wait_s: float
) -> None:
    """Hold the request until `state()` is one of `ends` or the time is over (25 s at the most)."""
    if wait_s > 0:
        platform.changes.wait_until(lambda: state() in ends, min(wait_s, MAX_WAIT_S))
