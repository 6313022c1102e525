"""Folders of attempts: made and taken down for each task, so with few system calls."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def make_anew(folder: Path) -> None:
    """An empty one, whatever was there."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: str) -> None:
    """With all that is in it, as far as that can be. An empty one stays: on ext4, what has just
    been removed makes what is made next slower."""
    try:
        with os.scandir(folder) as entries:
            is_empty = next(entries, None) is None
    except OSError:
        return
    if not is_empty:
        shutil.rmtree(folder, ignore_errors=True)
