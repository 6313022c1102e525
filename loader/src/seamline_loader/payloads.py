"""A payload by its digest: out of the cache, or fetched into it, verified."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO

from seamline_loader.cache import Cache
from seamline_loader.configuration import Configuration
from seamline_loader.errors import LoaderError
from seamline_loader.partial import cannot_use, digest_of_file

if TYPE_CHECKING:
    from seamline_loader.fetching import Manner

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Payloads:
    """`manner`: how to fetch; the default suits everybody but tests."""

    def __init__(self, configuration: Configuration, manner: Manner | None = None) -> None:
        self._configuration = configuration
        self._cache = Cache(configuration.cache, configuration.cache_bytes)
        self._manner = manner
        self._read: set[str] = set()

    def read(self, digest: str) -> bytes:
        """The bytes, as they are in the cache. They were verified when they came; whoever uses
        them hashes them again, so this does not."""
        with self.open(digest) as file:
            return file.read()

    def open(self, digest: str) -> BinaryIO:
        """Fetches it first where it is not here. Of any size: nothing is held in memory."""
        name = _name_of(digest)
        self._read.add(name)
        try:
            while True:
                file = self._cache.open(name)
                if file is not None:
                    return file
                self._fetch(name)
        except OSError as error:
            raise cannot_use(self._cache.folder, error) from error

    def forget_altered(self) -> bool:
        """Drops those that this object handed out and that are not what they were; was there
        one?"""
        altered = [
            name
            for name in sorted(self._read)
            if self._cache.path_of(name).exists()
            and digest_of_file(self._cache.path_of(name)) != name
        ]
        for name in altered:
            self._cache.forget(name)
        return bool(altered)

    def _fetch(self, name: str) -> None:
        # Half of what there is to import; a load from the cache does without.
        from seamline_loader.fetching import Manner
        from seamline_loader.retrieval import retrieve

        retrieve(self._cache, name, self._configuration, self._manner or Manner())


def _name_of(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise LoaderError(f"{digest!r} is no digest: wanted sha256: and 64 hexadecimal digits.")
    return match[1]
