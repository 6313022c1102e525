"""Compile the pipeline and publish it under this codebase's version: `python publish.py`.

REGISTRY_URL says where, REGISTRY_TOKEN who publishes. Nothing is sent unless it compiles, and the
tags move together or not at all: after a refusal each still stands for what it stood for.
"""

import os
import sys
import tempfile
import tomllib
from pathlib import Path

from arrivals import arrivals_pipeline
from kfp import compiler
from kfp.registry import ApiAuth, RegistryClient
from requests import HTTPError

HERE = Path(__file__).resolve().parent


def main() -> None:
    version = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]
    client = RegistryClient(
        host=os.environ["REGISTRY_URL"], auth=ApiAuth(os.environ["REGISTRY_TOKEN"])
    )
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "pipeline.yaml"))
        compiler.Compiler().compile(arrivals_pipeline, file)
        try:
            package, digest = client.upload_pipeline(file, tags=[version, "latest"])
        except HTTPError as refusal:
            sys.exit(f"{version} was refused: {refusal.response.text}")
    print(f"{package}@{version} is {digest}")


if __name__ == "__main__":
    main()
