"""The one "no": what the engine refused, limits, our own faults, and the way from a child to the front."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_engine.errors import GraphError, LimitError, UnsupportedError
from gradwire_server.config.table import ServerConfig
from gradwire_server.refusal import INTERNAL_MESSAGE, Refusal, from_engine, internal, over_limit

# What others refused


def test_what_the_engine_refused_keeps_its_reason_and_path() -> None:
    refusal = from_engine(GraphError("no such value", path="graph.nodes[3].operands[0]"))
    assert (refusal.reason, refusal.violations) == (
        "INVALID_GRAPH",
        (("graph.nodes[3].operands[0]", "no such value"),),
    )
    assert refusal.message == "graph.nodes[3].operands[0]: no such value"
    unsupported = from_engine(UnsupportedError("op 999"))
    assert (unsupported.reason, unsupported.message, unsupported.violations) == ("UNSUPPORTED_OP", "op 999", ())


def test_a_limit_says_value_limit_unit_and_setting() -> None:
    error = LimitError("too many nodes", value=300_000, limit=200_000, unit="nodes", name="max-program-nodes")
    expected = {
        "name": "max-program-nodes",
        "value": "300000",
        "limit": "200000",
        "unit": "nodes",
        "setting": "--max-program-nodes",
    }
    assert from_engine(error).details == expected
    limit = ServerConfig().limit("max_program_nodes")
    ours = over_limit("PROGRAM_TOO_EXPENSIVE", "nodes", limit, 300_000, advice="send less")
    assert ours.details == expected
    assert ours.message == (
        "nodes: 300,000 nodes; max-program-nodes is 200,000 nodes (set by --max-program-nodes); send less"
    )


def test_a_limit_that_no_option_sets_names_none() -> None:
    error = LimitError("too large", value=3, limit=2, unit="things", name="of-nature")
    assert from_engine(error).details == {"name": "of-nature", "value": "3", "limit": "2", "unit": "things"}


def test_a_fault_of_ours_is_a_fixed_text_and_the_rest_goes_into_the_log() -> None:
    refusal = internal("Traceback: secret")
    assert (refusal.reason, refusal.message, refusal.log) == ("INTERNAL", INTERNAL_MESSAGE, "Traceback: secret")
    assert "secret" not in repr(refusal)


@pytest.mark.parametrize("reason", ["QUEUE_FULL", "SERVER_DRAINING", "WORKER_LOST", "INTERNAL"])
def test_what_may_pass_is_not_remembered(reason: str) -> None:
    assert not Refusal(reason, "not now").is_lasting
    assert Refusal("INVALID_GRAPH", "never").is_lasting


# From a child to the front

TEXT = st.text(max_size=50)
REFUSALS = st.builds(
    Refusal,
    TEXT,
    TEXT,
    details=st.dictionaries(TEXT, TEXT, max_size=3),
    violations=st.lists(st.tuples(TEXT, TEXT), max_size=3),
    retry_after=st.none() | st.floats(0, 1e6),
    log=TEXT,
)


@given(REFUSALS)
def test_a_refusal_arrives_as_it_was_packed_and_as_a_copy(refusal: Refusal) -> None:
    arrived = Refusal.unpack(b"".join(refusal.pack()))
    for other in (arrived, refusal.copy()):
        assert other is not refusal
        assert vars(other) == vars(refusal)
        assert str(other) == str(refusal)


def test_unreasonable_texts_are_cut_where_they_say_least() -> None:
    refusal = Refusal("INTERNAL", "m" * 9999, violations=[("p" * 9999, "w" * 9999)], log="l" * 99_999 + "the end")
    arrived = Refusal.unpack(b"".join(refusal.pack()))
    assert (len(arrived.message), [len(text) for text in arrived.violations[0]]) == (4096, [4096, 4096])
    assert len(arrived.log) == 16384
    assert arrived.log.endswith("the end")
    assert len(refusal.message) == 9999


@pytest.mark.parametrize("packed", [b"", b"\xff", b"{}", b"[]", json.dumps({"reason": "R", "other": 1}).encode()])
def test_what_is_no_refusal_is_not_unpacked(packed: bytes) -> None:
    with pytest.raises(ValueError, match="not a refusal"):
        Refusal.unpack(packed)
