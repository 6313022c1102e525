"""What `{{$.pipeline_…}}` placeholders stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunNames:
    #: By the placeholder's name; those of the run.
    run: Mapping[str, str]

    def text(self, name: str, task: str) -> str:
        """`task`: the path of the node that asks.

        >>> names = RunNames({"pipeline_job_uuid": "r1"})
        >>> names.text("pipeline_task_name", "loop-1[2]/train")
        'train'
        >>> names.text("pipeline_task_uuid", "train")
        'r1/train'
        """
        match name:
            case "pipeline_task_name":
                return task.rpartition("/")[2]
            case "pipeline_task_uuid":
                return f"{self.run['pipeline_job_uuid']}/{task}"
        return self.run[name]
