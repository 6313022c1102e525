from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from seamline.app.serve.bulk_job import JobFolder
from seamline.domain.errors import Conflict


def test_a_job_that_is_asked_for_while_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At whatever file of its folder the removal is: refused, or begun anew; and the one that has
    ended has ended well."""
    job, said = JobFolder(tmp_path / "batch" / "1"), list[str]()

    def ask() -> None:
        try:
            with job.alone():
                said.append("begun")
        except Conflict:
            said.append("refused")

    def asked_around(remove: object) -> object:
        def removing(*given: object, **more: object) -> None:
            for step in (lambda: None, lambda: remove(*given, **more)):  # type: ignore[operator]
                step()
                other = threading.Thread(target=ask)
                other.start()
                other.join()

        return removing

    with job.alone():
        job.rows.mkdir()
        (job.rows / "a.parquet").touch()
        (job.folder / "plan.json").touch()
        with monkeypatch.context() as patch:
            for name in ("unlink", "rmdir"):
                patch.setattr(os, name, asked_around(getattr(os, name)))
            job.remove()
    assert "refused" in said
    assert len(said) >= 8
    ask()
    assert said[-1] == "begun"
    assert not job.rows.exists()


def test_whoever_waited_for_the_lock_of_a_job_that_has_ended_is_told(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "1")
    with job.alone():
        job.remove()
    assert not job.folder.exists()
    with job.alone(), pytest.raises(Conflict, match="being predicted"), job.alone():
        pass
