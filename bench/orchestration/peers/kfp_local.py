"""kfp.local's SubprocessRunner. Modes, from the fastest to what one gets without a choice:

best      use_venv=False, install_kfp_package=False and no requirements: nothing to install
default   use_venv=False, components as the SDK declares them: pip runs before each task
venv      SubprocessRunner() as it is: a virtual environment for each task
"""

from __future__ import annotations

import contextlib
import io
import time
from typing import Any

import pipelines
import work
from kfp import local


def arguments_of(job: work.Job) -> dict[str, Any]:
    return {"folder": job.registry} if job.workload == "scenarios" else {}


def main() -> None:
    job = work.read_job()
    kind = pipelines.Kind(
        install_kfp_package=job.mode != "best",
        names_requirements=job.mode != "best",
        parallelism=job.workers,
    )
    pipeline = pipelines.WORKLOADS[job.workload](job.n, kind)
    runner = local.SubprocessRunner(use_venv=job.mode == "venv")
    local.init(runner=runner, pipeline_root=str(job.folder / "root"))
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run = pipeline(**arguments_of(job))
    seconds = time.perf_counter() - began
    work.report(job, seconds, None if job.workload == "scenarios" else run.output)


if __name__ == "__main__":
    main()
