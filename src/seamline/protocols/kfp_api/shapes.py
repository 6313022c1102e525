"""What clients send. Names are accepted in the proto's and in JSON's spelling, as KFP does."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from seamline.domain.errors import InvalidInput

MAX_BODY_BYTES = 64 << 20
MAX_JSON_BYTES = 1 << 20


class Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class NewExperiment(Shape):
    display_name: str = ""
    description: str | None = None
    namespace: str | None = None


class VersionReference(Shape):
    pipeline_id: str = ""
    pipeline_version_id: str | None = None


class RuntimeConfig(Shape):
    parameters: dict[str, Any] | None = None
    pipeline_root: str | None = None


class Source(Shape):
    """What is to run: a specification, or a pipeline that was uploaded."""

    display_name: str = ""
    description: str | None = None
    experiment_id: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: VersionReference | None = None
    runtime_config: RuntimeConfig | None = None
    service_account: str | None = None

    def parameters(self) -> dict[str, Any]:
        return (self.runtime_config.parameters if self.runtime_config else None) or {}


class NewRun(Source):
    pass


class NewVersion(Shape):
    display_name: str = ""
    name: str = ""
    description: str | None = None
    pipeline_spec: dict[str, Any] | None = None
    package_url: dict[str, Any] | None = None


class CronSchedule(Shape):
    cron: str
    start_time: datetime | None = None
    end_time: datetime | None = None


class PeriodicSchedule(Shape):
    interval_second: int
    start_time: datetime | None = None
    end_time: datetime | None = None


class Trigger(Shape):
    cron_schedule: CronSchedule | None = None
    periodic_schedule: PeriodicSchedule | None = None

    def chosen(self) -> CronSchedule | PeriodicSchedule:
        found = [one for one in (self.cron_schedule, self.periodic_schedule) if one is not None]
        if len(found) != 1:
            raise InvalidInput(
                "The trigger needs either a cron_schedule or a periodic_schedule.",
                next_step="Give cron_expression or interval_second.",
            )
        return found[0]


class Mode(StrEnum):
    ENABLE = "ENABLE"
    DISABLE = "DISABLE"
    MODE_UNSPECIFIED = "MODE_UNSPECIFIED"


class NewRecurringRun(Source):
    trigger: Trigger
    mode: Mode = Mode.ENABLE
    max_concurrency: int | None = None
    no_catchup: bool | None = None
