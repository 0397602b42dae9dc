"""Why and when a server process stops: a signal, or the end of the process that wanted it.

A signal may be delivered to any thread, and a lock that the main thread waits for does not notice. So the main thread
waits for a pipe, into which the signal itself writes; the handler then runs in the main thread and only sets a text.
"""

from __future__ import annotations

import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Waits for the first of them; for the main thread. `is_orphan` says that the parent has ended."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._reason = ""
        self.is_orphan = False

    def on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT; the second one ends the process at once."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._signalled)

    def _signalled(self, received: int, frame: object) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._reason = signal.Signals(received).name

    def on_end_of(self, descriptor: int) -> None:
        """Stop when the other end of this pipe is closed."""

        def watch() -> None:
            while os.read(descriptor, 1024):
                continue
            self.is_orphan = True
            os.write(self._write, b"\0")

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()

    def wait(self) -> str:
        """Wait for it; the reason."""
        while not self._reason and not self.is_orphan:
            os.read(self._read, 64)
        return self._reason or "the parent has ended"
