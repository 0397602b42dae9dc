"""A child process as the front holds it: start it, talk to it, end it, and know why it ended.

Children are `python -P -m MODULE`, started with a socket pair, their descriptors passed by inheritance, in the front's
own session and process group. They ignore the signals that mean "stop" to the front, from their first instruction on:
the starting thread blocks them, and the child ignores and unblocks them. They end when their stream does, and, on
Linux, when the *thread* that started them ends (PR_SET_PDEATHSIG counts threads): so only a thread that lives as long
as they do may start them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from gradwire_server.child.limits import EXIT_OUT_OF_MEMORY, STOP_SIGNALS, child_environment
from gradwire_server.ipc.frames import Channel, ChannelClosed, Frame, Kind
from gradwire_server.ipc.messages import Cause, WorkerLost

_FAULTS = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS}
)


class StartFailed(Exception):
    """A child ended before it was ready, or was not ready in time; its stderr says more."""


class ChildProcess:
    """One child. `kill` may be called from any thread, everything else from one at a time."""

    def __init__(self, module: str, arguments: Sequence[str] = (), descriptors: Sequence[int] = ()) -> None:
        """Start `python -m module <socket> <parent> <arguments>…`; `descriptors` keep their numbers in the child."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid()), *arguments]
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
        self._forced: Cause | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def ready(self, timeout: float) -> Frame:
        """Wait for the child's first frame, READY; StartFailed where it does not come in time."""
        self.channel.settimeout(timeout)
        try:
            frame = self.channel.receive()
        except TimeoutError:
            self.kill("time_limit")
            raise StartFailed(f"process {self.pid} was not ready within {timeout:g} s") from None
        except ChannelClosed:
            lost = self.lost()
            raise StartFailed(f"process {self.pid} ended before it was ready ({lost})") from None
        if frame.kind != Kind.READY:
            self.kill("fault")
            raise StartFailed(f"process {self.pid} said {frame.kind} first, expected READY")
        return frame

    def kill(self, cause: Cause) -> None:
        """End it now; the first `cause` given is what `lost` reports."""
        if self._forced is None and self._process.poll() is None:
            self._forced = cause
        self._process.kill()

    def lost(self) -> WorkerLost:
        """Make sure that the process has ended, whatever state it is in, and say why; for when its stream has ended.

        A process that closed its stream without ending is killed: it is not waited for.
        """
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

    def close(self, grace: float = 0.0) -> None:
        """End it: by closing its stream, and after `grace` seconds by force. Returns once it has been waited for."""
        self.channel.close()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
