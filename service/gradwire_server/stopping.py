"""Why and when a server process stops: a signal, or the end of the process that wanted it."""

from __future__ import annotations

import os
import signal
import threading


class Stop:
    """Waits for the first of them. `is_orphan` says that it was, or since was, the end of the parent."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason = ""
        self.is_orphan = False

    def on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT; the second one ends the process at once."""
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._signalled)

    def _signalled(self, number: int, frame: object) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, signal.SIG_DFL)
        self._reason = signal.Signals(number).name
        self._event.set()

    def on_end_of(self, descriptor: int) -> None:
        """Stop when the other end of this pipe is closed."""

        def watch() -> None:
            while os.read(descriptor, 1024):
                continue
            self.is_orphan = True
            self._reason = self._reason or "the parent has ended"
            self._event.set()

        threading.Thread(target=watch, name="parent-watch", daemon=True).start()

    def wait(self) -> str:
        """Wait for it; the reason."""
        self._event.wait()
        return self._reason
