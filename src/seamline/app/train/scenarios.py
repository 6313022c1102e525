"""Request one run of a pipeline over many scenarios: a grid, a list or a query's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seamline.app.platform import Platform
from seamline.app.register.resolve_images import inherit_images
from seamline.app.train.submit_run import submit_ir
from seamline.data.select import select_rows
from seamline.data.versions import find_version
from seamline.domain.digests import digest_of
from seamline.domain.errors import InvalidInput
from seamline.promote.environments import TRAINING
from seamline.train.options import DEFAULT_OPTIONS, UNLABELED, RunLabel, RunOptions
from seamline.train.scenarios.file import ScenarioQuery, load_scenarios, read_scenarios
from seamline.train.scenarios.loop import MAX_SCENARIOS, with_scenarios

_SCHEME, _NEWEST = "datasets://", "@latest"


def submit_scenarios(
    platform: Platform,
    ir: bytes,
    scenarios: Mapping[str, Any] | str,
    *,
    arguments: Mapping[str, Any],
    environment: str = TRAINING,
    by: str,
    caused_by: str | None = None,
    run_id: str | None = None,
    label: RunLabel = UNLABELED,
    options: RunOptions = DEFAULT_OPTIONS,
    release: str | None = None,
) -> str:
    """`scenarios`: a scenarios file's text, or what it says.

    `arguments` are those of the whole run. What runs is the pipeline in a loop, so it has a digest
    of its own: outside dataops it runs only where a release holds that (law 4).
    """
    items, source = find_scenarios(platform, scenarios)
    twice = sorted({name for item in items for name in item} & set(arguments))
    if twice:
        raise InvalidInput(
            f"{', '.join(twice)} would be set twice: by the scenarios and as an argument.",
            next_step="Leave it out of one of the two.",
        )
    looped = with_scenarios(ir, items, source=source)
    inherit_images(platform.stores, digest_of(ir), digest_of(looped))
    return submit_ir(
        platform,
        looped,
        arguments=arguments,
        environment=environment,
        by=by,
        caused_by=caused_by,
        run_id=run_id,
        label=label,
        options=options,
        release=release,
    )


def find_scenarios(
    platform: Platform, scenarios: Mapping[str, Any] | str
) -> tuple[list[dict[str, Any]], str]:
    """The scenarios, and the dataset version that a query read ("" without one)."""
    if isinstance(scenarios, str):
        found = load_scenarios(scenarios.encode("utf-8", "surrogatepass"))
    else:
        found = read_scenarios(scenarios)
    if not isinstance(found, ScenarioQuery):
        return found, ""
    reference = found.dataset.removeprefix(_SCHEME).removesuffix(_NEWEST)
    version = find_version(platform.stores, reference)
    return select_rows(platform.stores, version, found.select, most=MAX_SCENARIOS), version.uri
