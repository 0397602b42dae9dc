"""Tensors admitted and not yet answered, against their bound; and how many requests that is."""

from __future__ import annotations

import threading

from gradwire_server.config.table import ServerConfig
from gradwire_server.refusal import over_limit

_RETRY_SECONDS = 0.1


class Ledger:
    """What is in the server's hands. All methods may be called from any thread."""

    def __init__(self, config: ServerConfig) -> None:
        self._limit = config.limit("max_admitted_bytes")
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self.nbytes = 0
        self.requests = 0

    def enter(self, nbytes: int) -> None:
        """Take room for a request; one that is alone always finds some."""
        with self._lock:
            if self.requests and self.nbytes + nbytes > self._limit.value:
                raise over_limit(
                    "QUEUE_FULL",
                    "tensors admitted and not yet answered",
                    self._limit,
                    self.nbytes + nbytes,
                    advice="try again later, or use another replica",
                    retry_after=_RETRY_SECONDS,
                )
            self.nbytes += nbytes
            self.requests += 1

    def leave(self, nbytes: int) -> None:
        """Give it back."""
        with self._lock:
            self.nbytes -= nbytes
            self.requests -= 1
            if not self.requests:
                self._idle.notify_all()

    def wait_until_empty(self, timeout: float) -> bool:
        """Wait until everything that was admitted is answered; False if that takes too long."""
        with self._lock:
            return self._idle.wait_for(lambda: not self.requests, timeout)
