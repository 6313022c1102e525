"""The command line: lazy groups, so that `seamline --help` loads next to nothing."""

from __future__ import annotations

from seamline.cli.root import main

__all__ = ["main"]
