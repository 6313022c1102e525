"""Who may ask the data plane for what: callers, as the access list has them.

The list is read when it is replaced, never when a request comes: a request costs a hash and a
look-up. A list that does not hold changes nothing; the one before goes on, control plane or not.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from seamline.domain.clock import Clock, from_iso
from seamline.domain.errors import Forbidden, Refused, Unauthenticated, Unavailable
from seamline.serve.callers.passes import SCHEME, read_pass
from seamline.serve.metrics import Metrics
from seamline.trust.access_list import AccessEntry, AccessList, access_list_path, read_access_list
from seamline.trust.keys import load_public_key
from seamline.trust.refusals import spoken
from seamline.trust.requests import read_token
from seamline.trust.roles import Verb, roles_for

LOG = logging.getLogger(__name__)
POLL_S = 0.1
_SEND_ONE = "Send Authorization: Bearer TOKEN; an admin issues one: seamline token issue NAME."

#: What tells one written file from the next: an atomic replacement changes the inode.
Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Caller:
    """A token's limits and its principal's roles, as sets; None: no limit, everywhere."""

    name: str
    expires_at: datetime | None = None
    environments: frozenset[str] | None = None
    endpoints: frozenset[str] | None = None
    verbs: frozenset[str] = frozenset(Verb)
    granted: Mapping[str, frozenset[str] | None] | None = None

    @property
    def principal(self) -> str | None:
        """As the log names them; None where nobody was asked for a name.

        >>> Caller("ada").principal, ANYBODY.principal
        ('ada', None)
        """
        return None if self is ANYBODY else self.name

    def check(self, verb: Verb, environment: str, endpoint: str | None = None) -> None:
        """Raises Forbidden, with what would let them. `endpoint` None: each that there is.

        >>> ada = Caller("ada", endpoints=frozenset({"late-arrival"}))
        >>> ada.check(Verb.PREDICT, "production", "late-arrival")
        """
        if not self.may(verb, environment, endpoint):
            raise self._refusal(verb, environment, endpoint)

    def may(self, verb: Verb, environment: str, endpoint: str | None) -> bool:
        return (
            verb in self.verbs
            and self._has_role(verb, environment)
            and (self.environments is None or environment in self.environments)
            and (self.endpoints is None or endpoint in self.endpoints)
        )

    def sees(self, environment: str, endpoint: str) -> bool:
        """Whether they may know of it: whoever may ask it, or look into its environment."""
        return self.may(Verb.READ, environment, endpoint) or self.may(
            Verb.PREDICT, environment, endpoint
        )

    def check_sees(self, environment: str, endpoint: str) -> None:
        if not self.sees(environment, endpoint):
            raise self._refusal(Verb.PREDICT, environment, endpoint)

    def check_enters(self, environment: str) -> None:
        """Raises Forbidden where they may know of nothing in the environment."""
        replace(self, endpoints=None).check_sees(environment, "")

    def _has_role(self, verb: Verb, environment: str) -> bool:
        if self.granted is None:
            return True
        allowed = self.granted.get(verb, frozenset())
        return allowed is None or environment in allowed

    def _refusal(self, verb: Verb, environment: str, endpoint: str | None) -> Forbidden:
        if not self._has_role(verb, environment):
            return Forbidden(
                f"{self.name} may not {spoken(verb)} in {environment}.",
                next_step=f"An admin lets them: seamline principal grant {self.name} "
                f"--role {roles_for(verb)[0]} --in {environment}.",
            )
        limit = f" --endpoint {endpoint}" if endpoint and verb is Verb.PREDICT else ""
        issue = f"seamline token issue {self.name} --environment {environment}{limit}."
        about = f"the request is about {_what(environment, endpoint)}."
        if self.environments is not None and environment not in self.environments:
            return Forbidden(
                f"This token of {self.name} is for {_named(self.environments)}; {about}",
                next_step=f"An admin issues one for it: {issue}",
            )
        if self.endpoints is not None and endpoint not in self.endpoints:
            return Forbidden(
                f"This token of {self.name} is for the endpoints {_named(self.endpoints)}; {about}",
                next_step=f"Ask one of those; or an admin issues another: {issue}",
            )
        return Forbidden(
            f"{self.name} may {spoken(verb)} in {environment}; this token may not.",
            next_step=f"An admin issues one that may: {issue}",
        )


#: Where no token is asked for: whoever reaches it has the machine.
ANYBODY = Caller("anybody")


class Access:
    """`is_required`: from the start, and whatever a list says."""

    def __init__(
        self,
        root: Path,
        public_key_path: Path,
        metrics: Metrics,
        clock: Clock,
        *,
        is_required: bool = False,
    ) -> None:
        self._path = access_list_path(root)
        self._public_key_path = public_key_path
        self._metrics = metrics
        self._clock = clock
        self._always_required = self.is_required = is_required
        #: Why there is nothing to know callers by; empty once a list was taken.
        self._problem = "no access list was written yet" if is_required else ""
        self._version = -1
        self._callers: dict[bytes, Caller] = {}
        self._stamp: Stamp | None = None
        self._looking = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """What lies there is taken before it returns: no request comes earlier."""
        await self.look()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)

    async def caller_of(self, header: str | None) -> Caller:
        """Of an Authorization header. Raises Unauthenticated; Unavailable where a token would be
        needed and there is no list that holds."""
        if header is None and not self.is_required:
            return ANYBODY
        try:
            return self._find(header)
        except (Unauthenticated, Unavailable):
            # It may have been issued a moment ago: a new list is not waited for.
            if header is None or not await self.look():
                raise
            return self._find(header)

    def _passed(self, text: str) -> Caller:
        """Whom the control plane asks for."""
        found = read_pass(text, load_public_key(self._public_key_path), self._clock.now())
        return Caller(
            found.principal,
            environments=frozenset({found.environment}),
            endpoints=frozenset({found.endpoint}),
            verbs=frozenset({Verb.PREDICT}),
        )

    def _find(self, header: str | None) -> Caller:
        if header is not None and header.startswith(f"{SCHEME} "):
            return self._passed(header.removeprefix(f"{SCHEME} "))
        token = None if header is None else read_token(header)
        if token is None:
            raise Unauthenticated("This request carries no token.", next_step=_SEND_ONE)
        caller = self._callers.get(hashlib.sha256(token.encode()).digest())
        if caller is None:
            if self._problem:
                raise Unavailable(
                    f"Nobody's token can be told here: {self._problem}.",
                    next_step="seamline up, in its workspace, writes another list.",
                )
            raise Unauthenticated("This token is not known here, or was revoked.",
                                  next_step=_SEND_ONE)  # fmt: skip
        if caller.expires_at is not None and caller.expires_at <= self._clock.now():
            raise Unauthenticated(
                f"This token of {caller.name} expired at {caller.expires_at:%Y-%m-%dT%H:%M:%SZ}.",
                next_step=f"An admin can issue another: seamline token issue {caller.name}.",
            )
        return caller

    async def look(self) -> bool:
        """Whether the list was replaced: then it is taken, if it holds. One that goes away changes
        nothing."""
        if _stamp(self._path) in (None, self._stamp) and not self._looking.locked():
            return False
        async with self._looking:
            stamp = _stamp(self._path)
            if stamp not in (None, self._stamp):
                self._stamp = stamp
                await self._read_and_take()
        return True

    async def _read_and_take(self) -> None:
        try:
            self._take(*await asyncio.to_thread(self._read))
        except Exception as error:
            LOG.error("access list not taken: %s", error)
            self._metrics.add("seamline_access_list_failures_total")
            if self._version < 0:  # nothing to go on with: closed until one holds
                self.is_required = True
                self._problem = f"the access list {self._path} does not hold ({error})"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self.look()

    def _read(self) -> tuple[AccessList, dict[bytes, Caller]]:
        found = read_access_list(self._path, load_public_key(self._public_key_path))
        return found, {_key_of(one): _caller(one) for one in found.entries}

    def _take(self, found: AccessList, callers: dict[bytes, Caller]) -> None:
        if found.version < self._version:
            raise Refused(
                f"Access list {found.version} is older than {self._version}, which holds.",
                next_step="seamline up, in its workspace, writes another list.",
            )
        self._callers = callers
        self.is_required = found.is_required or self._always_required
        self._version, self._problem = found.version, ""
        self._metrics.put("seamline_access_list_version", (), found.version)
        LOG.info(
            "access list %d: %d tokens, %s", found.version, len(found.entries),
            "required" if self.is_required else "not required",
        )  # fmt: skip


def _key_of(entry: AccessEntry) -> bytes:
    return bytes.fromhex(entry.token_digest.removeprefix("sha256:"))


def _caller(entry: AccessEntry) -> Caller:
    return Caller(
        entry.principal,
        from_iso(entry.expires_at),
        _set(entry.environments),
        _set(entry.endpoints),
        frozenset(entry.verbs),
        {verb: _set(environments) for verb, environments in entry.granted.items()},
    )


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _named(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _what(environment: str, endpoint: str | None) -> str:
    if endpoint is None:
        return f"every endpoint in {environment}"
    return f"{endpoint} in {environment}" if endpoint else environment


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
