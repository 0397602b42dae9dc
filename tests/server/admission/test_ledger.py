"""What is in the server's hands: bytes against their bound, and requests until the last is answered."""

from __future__ import annotations

import pytest

from gradwire_server.admission.ledger import Ledger
from gradwire_server.config.table import ServerConfig
from gradwire_server.config.texts import MIB
from gradwire_server.refusal import Refusal


def test_the_ledger_says_when_everything_is_answered() -> None:
    ledger = Ledger(ServerConfig())
    assert ledger.wait_until_empty(0)
    ledger.enter(10)
    assert not ledger.wait_until_empty(0)
    ledger.leave(10)
    assert ledger.wait_until_empty(0)


def test_bytes_are_bounded_for_all_but_a_request_that_is_alone() -> None:
    ledger = Ledger(ServerConfig(max_admitted_bytes=16 * MIB))
    ledger.enter(20 * MIB)
    with pytest.raises(Refusal, match="QUEUE_FULL"):
        ledger.enter(1)
    assert (ledger.requests, ledger.nbytes) == (1, 20 * MIB)
    ledger.leave(20 * MIB)
    ledger.enter(15 * MIB)
    ledger.enter(1 * MIB)
    with pytest.raises(Refusal, match="set by --max-admitted-bytes"):
        ledger.enter(1)
