from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

from seamline.runtime.processes import (
    current_identity,
    end_process_group,
    group_members,
    identity_of,
    is_alive,
)

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""
_DEAF = (
    "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(600)"
)


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    )


def test_one_process_is_not_another_with_its_number() -> None:
    me = current_identity()
    assert me.pid == os.getpid()
    assert me.boot_id
    assert is_alive(me)
    assert not is_alive(dataclasses.replace(me, start_time=me.start_time + 1))
    assert not is_alive(dataclasses.replace(me, boot_id="an earlier boot"))


def test_a_process_that_ended_is_not_alive_even_before_it_is_reaped() -> None:
    with start("import time; time.sleep(600)") as child:
        identity = identity_of(child.pid)
        assert identity is not None
        assert is_alive(identity)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not is_alive(identity)
    assert identity_of(child.pid) is None


def test_a_group_ends_with_grandchildren_that_ignore_the_polite_signal() -> None:
    with start(_PARENT.format(child=_DEAF)) as parent:
        assert parent.stdout is not None
        grandchild = identity_of(int(parent.stdout.readline()))
        assert grandchild is not None
        assert set(group_members(parent.pid)) == {parent.pid, grandchild.pid}
        assert end_process_group(parent.pid, grace_s=0.2)
        assert not is_alive(grandchild)
        assert parent.wait() == -15


def test_a_group_whose_number_belongs_to_somebody_else_is_left_alone() -> None:
    with start("print(1, flush=True)\nimport time\ntime.sleep(600)") as child:
        assert child.stdout is not None
        child.stdout.readline()
        identity = identity_of(child.pid)
        assert identity is not None
        earlier = dataclasses.replace(identity, start_time=identity.start_time - 1)
        assert end_process_group(earlier)
        assert is_alive(identity)
        assert end_process_group(identity, grace_s=0)
        assert child.wait() == -9


def test_ending_what_has_ended_is_fine() -> None:
    with start("pass") as child:
        child.wait()
    assert end_process_group(child.pid)
