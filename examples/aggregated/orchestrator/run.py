"""Run the compiled report on a delivery: `python run.py FILE flights.csv`.

KF_PIPELINES_ENDPOINT says where, REGISTRY_TOKEN who runs it. Exit code 1 when a branch failed.
"""

import os
import sys
from pathlib import Path

import kfp


def main(file: str, flights: str) -> int:
    client = kfp.Client(
        host=os.environ["KF_PIPELINES_ENDPOINT"], existing_token=os.environ["REGISTRY_TOKEN"]
    )
    started = client.create_run_from_pipeline_package(
        file, arguments={"flights": Path(flights).resolve().as_uri()}
    )
    ended = client.wait_for_run_completion(started.run_id, timeout=600)
    for task in ended.run_details.task_details:
        if task.state == "FAILED" and not task.child_tasks:  # not the groups around it
            print(f"{task.display_name}: {task.error.message}")
    print(f"run {started.run_id} has {ended.state.lower()}")
    return 0 if ended.state == "SUCCEEDED" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
