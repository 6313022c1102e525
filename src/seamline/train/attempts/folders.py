"""Folders of attempts: made and taken down for each task, so with few system calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def make_anew(folder: Path) -> None:
    """An empty one, whatever was there."""
    try:
        os.makedirs(folder)  # noqa: PTH103  (it tells whether there was one)
    except FileExistsError:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: str) -> None:
    """With all that is in it, as far as that can be. An empty one stays: on ext4, what has just
    been removed makes what is made next slower."""
    try:
        is_empty = not os.listdir(folder)  # noqa: PTH208  (for each task, several times)
    except OSError:
        return
    if not is_empty:
        shutil.rmtree(folder, ignore_errors=True)
