"""Other teams' compiled pipelines, from the registry, as the bytes that were asked for."""

import hashlib
from pathlib import Path

from kfp.registry import RegistryClient
from lock_file import Pin


class OtherBytes(Exception):
    """What came is not what the digest names."""


def fetch_tag(
    client: RegistryClient, repository: str, name: str, tag: str, folder: Path
) -> tuple[Pin, str]:
    """What the tag stands for now, as a pin, and the file."""
    digest = client.get_tag(name, tag)["version"].rpartition("/versions/")[2]
    file = client.download_pipeline(name, tag=tag, file_name=str(folder / f"{name}_{tag}.yaml"))
    check_bytes(file, digest, f"{name}@{tag}")
    return Pin(name, repository, tag, digest), file


def fetch_locked(client: RegistryClient, pin: Pin, folder: Path) -> tuple[Pin, str]:
    """The bytes that the lock names, wherever its tag points by now."""
    target = str(folder / f"{pin.name}_locked.yaml")
    file = client.download_pipeline(pin.name, version=pin.digest, file_name=target)
    check_bytes(file, pin.digest, f"{pin.name}@{pin.tag}")
    return pin, file


def check_bytes(file: str, digest: str, what: str) -> None:
    found = f"sha256:{hashlib.sha256(Path(file).read_bytes()).hexdigest()}"
    if found != digest:
        raise OtherBytes(f"{what} should be {digest}, and {found} came")
