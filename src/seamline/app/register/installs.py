"""What an environment's package index gives out: what its live release holds (law 4).

An earlier version stays on its page, so that whoever pins it reads why it is passed over, and is
refused. What a release that is being checked holds can be had by its exact version only, so nobody
gets it who did not ask for it. Payloads of what is installed already are no installs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from seamline.domain.digests import digest_of, short
from seamline.domain.errors import DigestMismatch, Refused
from seamline.promote.admission import Admitted, find_admitted, say_needed
from seamline.promote.environments import TRAINING, list_environments
from seamline.promote.release import StoredRelease
from seamline.register.packages.index import RESERVED, PackageFile
from seamline.register.packages.yanks import Yank
from seamline.store.stores import Stores


@dataclass(frozen=True)
class Installs:
    """`admitted`: None where everything that was published is given out, in dataops."""

    admitted: Admitted | None

    @property
    def state(self) -> int:
        """Another one when another release is live or is being checked."""
        names = [one.digest for one in self.admitted.releases] if self.admitted else []
        live = self.admitted is not None and self.admitted.live is not None
        return int(digest_of(repr((live, names)).encode()).removeprefix("sha256:")[:15], 16)

    def passed_over(self, files: Sequence[PackageFile]) -> dict[str, Yank]:
        """Version → why installers are to take it only when it is pinned."""
        found = {}
        for file in files:
            reason = self._why(file)
            if reason is not None:
                found[file.version] = Yank(reason, "seamline", "")
        return found

    def _why(self, file: PackageFile) -> str | None:
        if self.admitted is None or file.name in RESERVED:
            return None
        live, environment = self.admitted.live, self.admitted.environment
        if live is not None and _holds(live, file):
            return None
        checked = [one.alias for one in self.admitted.checking if _holds(one, file)]
        if checked:
            return f"being checked for {environment} in release {checked[0]}, and not live there"
        return f"not live in {environment}" + (f": release {live.alias} is" if live else "")

    def is_given(self, file: PackageFile) -> bool:
        if self.admitted is None or file.name in RESERVED:
            return True
        return any(_holds(release, file) for release in self.admitted.releases)

    def promised(self, file: PackageFile) -> list[str]:
        """What the releases say that this very version is."""
        releases = self.admitted.releases if self.admitted else ()
        return [
            pin.digest
            for release in releases
            for pin in release.release.packages
            if (canonicalize_name(pin.name), pin.version) == (file.name, file.version)
        ]


def find_installs(stores: Stores, environment: str) -> Installs:
    with stores.db.read() as connection:
        known = {one.name for one in list_environments(connection)}
        if environment == TRAINING or environment not in known:
            return Installs(None)
        return Installs(find_admitted(connection, environment))


def check_installed(stores: Stores, file: PackageFile) -> None:
    """Refused where no release that is live, or being checked, in its environment holds it;
    DigestMismatch where one holds other bytes under that name and version."""
    installs = find_installs(stores, file.environment)
    if installs.is_given(file):
        return
    for digest in installs.promised(file):
        raise DigestMismatch(file.filename, expected=digest, actual=file.digest)
    with stores.db.read() as connection:
        needed = say_needed(connection, file.environment, [file.digest])
    live = installs.admitted.live if installs.admitted else None
    why = f"the live release {live.alias} does not hold it" if live else "no release is live there"
    raise Refused(
        f"{file.name} {file.version} ({short(file.digest)}) cannot be installed in "
        f"{file.environment}: {why}.",
        next_step=needed,
    )


def _holds(release: StoredRelease, file: PackageFile) -> bool:
    return file.digest in {pin.digest for pin in release.release.packages}
