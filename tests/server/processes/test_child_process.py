from __future__ import annotations

import json
import os
import select
import signal
from dataclasses import asdict
from pathlib import Path

import pytest

from gradwire_engine.program import Limits
from gradwire_server.child.limits import EXIT_OUT_OF_MEMORY
from gradwire_server.ipc.frames import Kind
from gradwire_server.processes.child_process import ChildProcess, StartFailed

PATIENCE = 60.0

CHILD = """
import os, signal, sys
from gradwire_server.child.start import enter, say_ready
channel, (what, number) = enter(sys.argv[1:])
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
    child = ChildProcess(module, [what, str(int(number))])
    child.ready(PATIENCE)
    child.channel.send(Kind.RUN)
    assert select.select([child.channel.fileno()], [], [], PATIENCE)[0]
    lost = child.lost()
    assert (lost.cause, lost.signal) == (cause, by)
    child.close()


def test_a_child_that_we_end_was_lost_to_our_reason(module: str) -> None:
    child = ChildProcess(module, ["exit", "0"])
    child.ready(PATIENCE)
    child.kill("time_limit")
    child.kill("killed")
    assert child.lost().cause == "time_limit"
    child.close()


def test_a_child_that_died_before_we_ended_it_was_not_lost_to_our_reason(module: str) -> None:
    child = ChildProcess(module, ["exit", "0"])
    child.ready(PATIENCE)
    os.kill(child.pid, signal.SIGKILL)
    assert select.select([child.channel.fileno()], [], [], PATIENCE)[0]
    assert child.lost().cause == "killed"
    child.kill("time_limit")
    assert child.lost().cause == "killed"
    child.close()


def test_a_child_ends_by_itself_when_its_stream_does() -> None:
    child = ChildProcess("gradwire_server.child.preparer", [str(1 << 30), json.dumps(asdict(Limits()))])
    child.ready(PATIENCE)
    end = os.pidfd_open(child.pid)
    child.channel.close()
    assert select.select([end], [], [], PATIENCE)[0]
    os.close(end)
    assert child.lost().signal == 0
    child.close()


def test_signals_that_come_while_it_starts_do_not_end_a_child() -> None:
    child = ChildProcess("gradwire_server.child.preparer", [str(1 << 30), json.dumps(asdict(Limits()))])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(child.pid, number)
    child.ready(PATIENCE)
    child.close(grace=PATIENCE)


def test_a_child_that_says_something_else_first_is_no_child_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rude.py").write_text(
        "import socket, sys\nsocket.socket(fileno=int(sys.argv[1])).sendall(b'hello'.ljust(64))"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = ChildProcess("rude")
    with pytest.raises(StartFailed):
        child.ready(PATIENCE)
    child.close()
