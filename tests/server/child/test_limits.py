from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gradwire_server.child.limits import (
    BLAS_THREAD_VARIABLES,
    EXIT_OUT_OF_MEMORY,
    child_environment,
)

MIB = 1 << 20
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="Linux enforces it, other systems do not")


def test_children_get_one_blas_thread_and_no_secrets() -> None:
    environment = {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "64",
        "GRADWIRE_TOKEN": "secret",
        "GRPC_VERBOSITY": "debug",
        "PYTHONPATH": os.pathsep.join(["/here", "/there"]),
    }
    child = child_environment(environment)
    assert {child[name] for name in BLAS_THREAD_VARIABLES} == {"1"}
    assert "secret" not in child.values()
    assert "GRPC_VERBOSITY" not in child
    assert child["PATH"] == "/bin"
    assert child["PYTHONPATH"].split(os.pathsep)[-2:] == ["/here", "/there"]


def run(code: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Python code in a process with the environment of our children."""
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(
        command, env=child_environment(), capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_children_find_our_packages_whatever_the_directory(tmp_path: Path) -> None:
    found = run(
        "import gradwire_server.ipc.messages, gradwire.wire, os; print(os.environ['OMP_NUM_THREADS'])", cwd=tmp_path
    )
    assert found.stdout == "1\n", found.stderr


LIMITED = f"""
import numpy as np
from gradwire_server.child.limits import limit_memory
assert limit_memory({256 * MIB})
for size, fits in ((200, True), (300, False), (200, True), (10**6, False)):
    try:
        np.ones(size << 20, np.uint8)
    except MemoryError:
        assert not fits, size
    else:
        assert fits, size
"""


@linux_only
def test_memory_above_the_limit_is_refused_and_below_it_goes_on() -> None:
    assert run(LIMITED).returncode == 0


@linux_only
def test_no_core_is_dumped_with_other_peoples_data() -> None:
    code = f"""
import resource
from gradwire_server.child.limits import limit_memory
limit_memory({MIB})
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
    assert run(code).stdout == "(0, 0)\n"


def test_where_the_system_ignores_the_limit_a_watch_ends_the_process() -> None:
    code = f"""
import threading
import numpy as np
from gradwire_server.child.limits import watch_memory
watch_memory({128 * MIB}, interval=0.001)
held = [np.ones({64 * MIB}, np.uint8)]
print("within", flush=True)
held.append(np.ones({128 * MIB}, np.uint8))
threading.Event().wait(30)
"""
    ended = run(code)
    assert (ended.stdout, ended.returncode) == ("within\n", EXIT_OUT_OF_MEMORY)


def test_signals_that_stop_the_front_do_not_stop_a_child_even_if_they_came_before_it_could_ignore_them() -> None:
    code = """
import os, signal
from gradwire_server.child.limits import STOP_SIGNALS, outlive_stop_signals
signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
for one in STOP_SIGNALS:
    os.kill(os.getpid(), one)
outlive_stop_signals()
for one in STOP_SIGNALS:
    os.kill(os.getpid(), one)
print("alive", signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    assert run(code).stdout == "alive set()\n"


def test_a_child_whose_front_is_gone_already_ends_at_once() -> None:
    code = "from gradwire_server.child.limits import end_with_parent; end_with_parent({}); print('alive')"
    assert run(code.format(os.getpid())).stdout == "alive\n"
    assert run(code.format(1)).stdout == ""


@linux_only
def test_the_kernel_is_told_to_end_children_before_the_front() -> None:
    code = """
from gradwire_server.child.limits import volunteer_for_oom
volunteer_for_oom()
print(open("/proc/self/oom_score_adj").read())
"""
    assert run(code).stdout.strip() == "900"
