"""What stock clients are run in: environments of their own, made as those of tasks are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seamline.domain.errors import SeamlineError
from seamline.runtime.environments import EnvironmentCache
from seamline.runtime.requirements import RequirementSet


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """environment(requirements) → its interpreter; the test is skipped where there is none."""
    cache = EnvironmentCache(tmp_path_factory.mktemp("clients"), Path(sys.executable))

    def make(*requirements: str) -> Path:
        try:
            return cache.ensure(RequirementSet.of(requirements)).python
        except SeamlineError as error:
            pytest.skip(f"{', '.join(requirements)} cannot be installed here: {error}")

    return make
