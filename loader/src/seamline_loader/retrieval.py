"""A payload that is not here: into the cache, from the first location that has it."""

from __future__ import annotations

from collections.abc import Sequence

from seamline_loader.cache import Cache
from seamline_loader.configuration import Configuration
from seamline_loader.errors import (
    LoaderError,
    NoLocation,
    NotAllowed,
    NotThere,
    Unreachable,
    WrongBytes,
)
from seamline_loader.fetching import Manner, fetch_parts, look
from seamline_loader.locations import Location, location_of

#: Which problem is told as the error, when each location has one of its own.
_GRAVEST_FIRST = (WrongBytes, NotAllowed, Unreachable, NotThere)


def retrieve(cache: Cache, name: str, configuration: Configuration, manner: Manner) -> None:
    """One process does, the others wait for it. Whole and verified afterwards, or an error."""
    token = configuration.token
    locations = [location_of(text, token) for text in configuration.locations]
    if not locations:
        raise NoLocation(
            f"The payload sha256:{name} is not on this machine, and nothing says where payloads "
            "are. Set SEAMLINE_PAYLOADS to an address "
            "(https://SERVER/pypi/ENVIRONMENT/payloads) or a folder, or write it into "
            "~/.config/seamline/loader.conf."
        )
    with cache.lock(name):
        problems: list[LoaderError] = []
        for location in locations:
            if cache.path_of(name).exists():  # whoever had the lock before brought it
                return
            try:
                _retrieve_from(location, cache, name, manner)
            except (NotAllowed, NotThere, Unreachable, WrongBytes) as problem:
                problems.append(problem)
        if not cache.path_of(name).exists():
            raise _gravest(problems)


def _retrieve_from(location: Location, cache: Cache, name: str, manner: Manner) -> None:
    """Parts of another location, or from before a power cut, may be wrong: if the whole is, it is
    fetched once more from nothing before this location is blamed."""
    offer = look(location, name, manner)
    partial = cache.partial_of(name)
    cache.make_room(offer.size, offer.size - partial.held_bytes(), keep=name)
    was_begun = partial.is_begun()
    fetch_parts(location, name, offer, partial, manner)
    actual = partial.digest()
    if actual != name and was_begun:
        partial.discard()
        fetch_parts(location, name, offer, partial, manner)
        actual = partial.digest()
    if actual != name:
        partial.discard()
        raise WrongBytes(str(location), expected=name, actual=actual)
    partial.move_to(cache.path_of(name))


def _gravest(problems: Sequence[LoaderError]) -> LoaderError:
    """One error of the kind that matters most; what the other locations said stands in it."""
    ranked = sorted(problems, key=lambda problem: _GRAVEST_FIRST.index(type(problem)))
    gravest, others = ranked[0], ranked[1:]
    if others:
        gravest.args = (" ".join([str(gravest), *map(str, others)]),)
    return gravest
