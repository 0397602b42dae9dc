from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from gradwire_engine.program import Limits
from gradwire_server.child.limits import EXIT_OUT_OF_MEMORY
from gradwire_server.ipc.messages import Plan, PreparerSetup, Unmap, send
from gradwire_server.processes.child_process import ChildProcess, StartFailed

PATIENCE = 60.0
SETUP = PreparerSetup(memory_bytes=1 << 30, program_limits=Limits())

CHILD = """
import os, signal, sys
from gradwire_server.child.start import enter, say_ready
from gradwire_server.ipc.messages import Plan
channel, setup = enter(sys.argv[1:], Plan)
what, number = setup.graph.decode(), setup.slot
say_ready(channel, 1 << 28)
channel.receive()
if what == "exit":
    os._exit(int(number))
elif what == "signal":
    if int(number) != signal.SIGKILL:
        signal.signal(int(number), signal.SIG_DFL)
    os.kill(os.getpid(), int(number))
channel.close()
signal.pause()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A child that ends as it is told to, once it is sent a frame."""
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "a_child"


@pytest.mark.parametrize(
    ("what", "number", "cause", "by"),
    [
        ("exit", EXIT_OUT_OF_MEMORY, "memory_limit", 0),
        ("exit", 0, "fault", 0),
        ("exit", 1, "fault", 0),
        ("signal", signal.SIGKILL, "killed", signal.SIGKILL),
        ("signal", signal.SIGTERM, "killed", signal.SIGTERM),
        ("signal", signal.SIGBUS, "fault", signal.SIGBUS),
        ("signal", signal.SIGFPE, "fault", signal.SIGFPE),
        ("hang up", 0, "fault", signal.SIGKILL),
    ],
)
def test_how_a_child_ended_says_whose_fault_it_was(module: str, what: str, number: int, cause: str, by: int) -> None:
    child = ChildProcess(module, Plan(int(number), what.encode()))
    child.ready(PATIENCE)
    send(child.channel, Unmap(0))
    assert select.select([child.channel.fileno()], [], [], PATIENCE)[0]
    lost = child.lost()
    assert (lost.cause, lost.signal) == (cause, by)
    child.end()


def test_a_child_that_we_end_was_lost_to_our_reason(module: str) -> None:
    child = ChildProcess(module, Plan(0, b"exit"))
    child.ready(PATIENCE)
    child.kill("time_limit")
    child.kill("killed")
    assert child.lost().cause == "time_limit"
    child.end()


def test_a_child_that_died_before_we_ended_it_was_not_lost_to_our_reason(module: str) -> None:
    child = ChildProcess(module, Plan(0, b"exit"))
    child.ready(PATIENCE)
    os.kill(child.pid, signal.SIGKILL)
    assert select.select([child.channel.fileno()], [], [], PATIENCE)[0]
    assert child.lost().cause == "killed"
    child.kill("time_limit")
    assert child.lost().cause == "killed"
    child.end()


def test_a_child_ends_by_itself_when_its_stream_does() -> None:
    child = ChildProcess("gradwire_server.child.preparer", SETUP)
    child.ready(PATIENCE)
    end = os.pidfd_open(child.pid)
    child.channel.close()
    assert select.select([end], [], [], PATIENCE)[0]
    os.close(end)
    assert child.lost().signal == 0
    child.end()


def test_signals_that_come_while_it_starts_do_not_end_a_child() -> None:
    child = ChildProcess("gradwire_server.child.preparer", SETUP)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child.pid, number)
    child.ready(PATIENCE)
    child.end(grace=PATIENCE)


def test_a_child_that_says_something_else_first_is_no_child_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rude.py").write_text(
        "import socket, sys\nsocket.socket(fileno=int(sys.argv[1])).sendall(b'hello'.ljust(64))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = ChildProcess("rude", SETUP)
    with pytest.raises(StartFailed):
        child.ready(PATIENCE)
    child.end()
