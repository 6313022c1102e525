from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamline.domain.errors import InvalidInput, MachineryError
from seamline.runtime.indexes import read_index_settings
from seamline.runtime.requirements import RequirementSet, ask_interpreter


@given(st.permutations(["numpy>=2", "Pandas == 2.*", "scikit_learn", "a; python_version>'3'"]))
def test_order_and_spelling_do_not_matter(shuffled: list[str]) -> None:
    plain = RequirementSet.of(
        ["a; python_version > '3'", "numpy >=2", "pandas==2.*", "scikit-learn"], python="3.11"
    )
    assert RequirementSet.of(shuffled, python="3.11").digest == plain.digest


def test_the_digest_tells_sets_apart() -> None:
    digests = {
        RequirementSet.of(["kfp"], python="3.11").digest,
        RequirementSet.of(["kfp"], python="3.12").digest,
        RequirementSet.of(bare=["kfp"], python="3.11").digest,
        RequirementSet.of(["kfp==2.16.1"], python="3.11").digest,
    }
    assert len(digests) == 4


def test_what_is_asked_for_in_full_is_not_bare() -> None:
    assert RequirementSet.of(["kfp"], bare=["KFP==2.16.1"]).bare == ()


@pytest.mark.parametrize(
    "text", ["numpy >> 2", "", "-r other.txt", "--index-url x", "a; what=='x'"]
)
def test_what_is_not_a_requirement_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a requirement"):
        RequirementSet.of([text])


def test_an_interpreter_tells_what_is_installed() -> None:
    host = ask_interpreter(Path(sys.executable))
    assert host.version == ".".join(map(str, sys.version_info[:3]))
    assert "packaging" in host.distributions
    assert f"packaging=={host.distributions['packaging']}" in host.lock


def test_an_interpreter_that_does_not_start_is_our_fault(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such library >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(MachineryError, match="no such library"):
        ask_interpreter(broken)


def test_an_index_that_is_given_or_uvs_own_stands_before_pips() -> None:
    assert read_index_settings("https://x.example/simple", {"UV_INDEX": "y"}) == {
        "UV_DEFAULT_INDEX": "https://x.example/simple"
    }
    assert read_index_settings(None, {"UV_DEFAULT_INDEX": "https://y.example/simple"}) == {}
