"""How long logs are kept, as deployments declare it."""

from __future__ import annotations

from seamline.app.platform import Platform
from seamline.domain.durations import parse_duration_s
from seamline.serve.log.tables import list_environments
from seamline.serve.log.upkeep import keep_up_logs


def keep_logs(platform: Platform) -> None:
    """Of every environment, for the endpoints that are declared now: what nobody declares any more
    is nobody's to throw away."""
    declared = platform.declarations().deployments.values()
    keep_s = {one.name: parse_duration_s(one.keep) for one in declared if one.keep is not None}
    for environment in list_environments(platform.stores):
        keep_up_logs(platform.stores, environment, keep_s)
