"""Before a swap: what the release before was asked for is loaded, so that the first rows after it
wait for no model."""

from __future__ import annotations

import asyncio
import logging

from seamline.domain.errors import SeamlineError
from seamline.serve.models.many_models import ManyModels

LOG = logging.getLogger(__name__)
#: A swap is kept waiting no longer; the rest is loaded when it is asked for.
WARM_S = 15.0


async def warm_as(many: ManyModels, before: ManyModels, within_s: float = WARM_S) -> None:
    """The models that `before` holds, by their keys, what was asked for last first: as many as fit.

    One that does not load is no reason not to swap: it refuses its own rows.
    """
    warmed = 0
    try:
        async with asyncio.timeout(within_s):
            for key in before.recent_keys():
                place = many.family.places.get(key)
                if place is None:
                    continue
                try:
                    if not await many.take_in(place):
                        break
                    warmed += 1
                except SeamlineError as error:
                    LOG.warning("%s is not warm: %s", many.family.say(key), error)
    except TimeoutError:
        LOG.warning("%s: not all is warm after %g s.", many.spec.endpoint, within_s)
    LOG.info("%s: %d models are warm as they were before.", many.spec.endpoint, warmed)
