"""A child process as the front holds it: start it, talk to it, end it, and know why it ended.

Children are `python -P -m MODULE`, started with a socket pair, their descriptors passed by inheritance, in the front's
own session and process group. They ignore the signals that mean "stop" to the front, from their first instruction on:
the starting thread blocks them, and the child ignores and unblocks them. They end when their stream does, and, on
Linux, when the *thread* that started them ends (PR_SET_PDEATHSIG counts threads): so only a thread that lives as long
as they do may start them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Literal

from gradwire_server.child.limits import EXIT_OUT_OF_MEMORY, STOP_SIGNALS, child_environment
from gradwire_server.ipc.frames import Channel, ChannelClosed
from gradwire_server.ipc.messages import Message, Ready, read, send

Cause = Literal["killed", "fault", "time_limit", "memory_limit"]
"""Why a child was lost.

killed: by a signal from outside (the kernel's OOM killer, an operator): not the task's fault, run it elsewhere.
fault: by a fault signal (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT), or it ended on its own.
time_limit, memory_limit: by us, because the task went over its limit.
"""

_FAULTS: Final = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
)


class StartFailed(Exception):
    """A child ended before it was ready, or was not ready in time; its stderr says more."""


class WorkerLost(Exception):
    """A child died before it answered; `signal` is the number of the signal that ended it, 0 if none did.

    This is no refusal but an event: whoever gave the child its work decides whether to try again, and what to say.
    """

    def __init__(self, cause: Cause, signal: int = 0) -> None:
        super().__init__(f"worker lost: {cause}" + (f", signal {signal}" if signal else ""))
        self.cause: Cause = cause
        self.signal = signal


class ChildProcess:
    """One child. `kill` and `lost` may be called from any thread, everything else from one at a time."""

    def __init__(self, module: str, setup: Message, descriptors: Sequence[int] = ()) -> None:
        """Start `python -m module <socket> <parent>` and send it its setup; `descriptors` keep their numbers in it."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())]
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *descriptors),
                env=child_environment(),
            )
        except BaseException:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            theirs.close()
        self.channel = Channel(ours)
        self.is_lost = False
        self._forced: Cause | None = None
        with contextlib.suppress(ChannelClosed):  # a child that has ended already: `ready` says so
            send(self.channel, setup)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def fileno(self) -> int:
        """The descriptor on which one sees that the child has said something, or has ended."""
        return self.channel.fileno()

    def ready(self, timeout: float) -> None:
        """Wait for the child's first message, Ready; StartFailed where it does not come in time."""
        self.channel.settimeout(timeout)
        try:
            message = read(self.channel.receive())
        except TimeoutError:
            self.kill("time_limit")
            raise StartFailed(f"process {self.pid} was not ready within {timeout:g} s") from None
        except ChannelClosed:
            raise StartFailed(f"process {self.pid} ended before it was ready ({self.lost()})") from None
        if not isinstance(message, Ready):
            self.kill("fault")
            raise StartFailed(f"process {self.pid} said {type(message).__name__} first, expected Ready")

    def kill(self, cause: Cause) -> None:
        """End it now; the first `cause` given is what `lost` reports."""
        if self._forced is None and self._process.poll() is None:
            self._forced = cause
        self._process.kill()

    def lost(self) -> WorkerLost:
        """Make sure that the process has ended, whatever state it is in, and say why; it is not used again.

        A process that closed its stream without ending is killed: it is not waited for.
        """
        self.is_lost = True
        try:
            status = self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            self.kill("fault")
            status = self._process.wait()
        number = max(0, -status)
        if self._forced is not None:
            return WorkerLost(self._forced, number)
        if status == EXIT_OUT_OF_MEMORY:
            return WorkerLost("memory_limit")
        if number == 0 or number in _FAULTS:
            return WorkerLost("fault", number)
        return WorkerLost("killed", number)

    def hang_up(self) -> None:
        """Tell it to end."""
        self.channel.close()

    def end(self, grace: float = 0.0) -> None:
        """End it: by closing its stream, and after `grace` seconds by force. Returns once it has been waited for."""
        self.hang_up()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
