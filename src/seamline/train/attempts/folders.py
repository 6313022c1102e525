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
    """With all that is in it, as far as that can be; nothing happens where there is none."""
    try:
        os.rmdir(folder)  # noqa: PTH106  (most are empty: to list them first takes ten times as long)
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
