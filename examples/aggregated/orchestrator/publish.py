"""Publish the aggregated pipeline under this codebase's version: `python publish.py FILE`.

REGISTRY_URL says where, REGISTRY_TOKEN who publishes.
"""

import os
import sys
import tomllib
from pathlib import Path

from kfp.registry import ApiAuth, RegistryClient
from requests import HTTPError

HERE = Path(__file__).resolve().parent


def main(file: str) -> None:
    version = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]
    client = RegistryClient(
        host=os.environ["REGISTRY_URL"], auth=ApiAuth(os.environ["REGISTRY_TOKEN"])
    )
    try:
        package, digest = client.upload_pipeline(file, tags=[version, "latest"])
    except HTTPError as refusal:
        sys.exit(f"{version} was refused: {refusal.response.text}")
    print(f"{package}@{version} is {digest}")


if __name__ == "__main__":
    main(sys.argv[1])
