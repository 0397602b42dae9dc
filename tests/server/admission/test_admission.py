"""What may run: programs, digests, constants, room and deadlines, with preparing played by a stand-in."""

from __future__ import annotations

import numpy as np
import pytest
from tests.kit.server.fakes import FLOAT64, FakeClock, FakePreparing, prepared_program

from gradwire.wire.programs import program_id
from gradwire.wire.requests import RequestOptions, evaluate_parts, join, slice_evaluate
from gradwire.wire.tensors import OutgoingTensor, tensor_digest
from gradwire_engine.errors import GraphError
from gradwire_engine.program import Layout
from gradwire_engine.types import DType
from gradwire_server.admission.admission import SHARED_BY_VALUE, Admission, Phase
from gradwire_server.admission.ready_program import EvaluatePayload
from gradwire_server.admission.store import SMALL_BYTES, StoredConstant
from gradwire_server.config.table import ServerConfig
from gradwire_server.config.texts import MIB
from gradwire_server.ipc.messages import PreparedProgram
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal, from_engine
from gradwire_server.scheduling.job import Job

PROGRAM = b"a program"
ID = program_id(PROGRAM)


class Bench:
    def __init__(self, prepared: PreparedProgram | None = None, **options: int) -> None:
        self.clock = FakeClock()
        self.preparing = FakePreparing(prepared)
        self.modes: list[str] = []
        self.admission = Admission(
            ServerConfig(**options),  # type: ignore[arg-type]
            clock=self.clock,
            preparing=self.preparing,
            metrics=Metrics("1"),
            forget_constant=lambda digest: None,
        )
        self.admission.phase = Phase.SERVING

    def admit(self, *inputs: OutgoingTensor, tenant: str = "", **fields: object) -> Job[EvaluatePayload]:
        inputs = inputs or (value(1.0), value(2.0))
        request = slice_evaluate(join(evaluate_parts(inputs=inputs, **fields)))  # type: ignore[arg-type]
        return self.admission.admit(tenant, request, self.clock() + 10, self.modes.append)

    def refused(self, *inputs: OutgoingTensor, **fields: object) -> Refusal:
        before = self.admission.ledger.requests
        with pytest.raises(Refusal) as caught:
            self.admit(*inputs, **fields)  # type: ignore[arg-type]
        assert self.admission.ledger.requests == before
        return caught.value


def value(number: object) -> OutgoingTensor:
    return OutgoingTensor.inline(np.asarray(number, dtype=np.float64))


def digest_of(array: np.ndarray) -> bytes:
    return tensor_digest(DType.of(array.dtype), array.shape, array.tobytes())


def by_digest(array: np.ndarray) -> OutgoingTensor:
    return OutgoingTensor(DType.of(array.dtype), array.shape, None, digest_of(array))


def kept(array: np.ndarray) -> OutgoingTensor:
    return OutgoingTensor.inline(array, digest_of(array))


# Programs


def test_an_unknown_program_is_not_found_until_it_is_sent() -> None:
    bench = Bench()
    refusal = bench.refused(program_id=ID)
    assert (refusal.reason, refusal.details) == ("PROGRAM_NOT_FOUND", {"program_id": ID})
    bench.admit(program=PROGRAM)
    bench.admit(program_id=ID)
    bench.admit(program_id=ID, program=PROGRAM)
    assert [call[0] for call in bench.preparing.calls] == [PROGRAM]
    assert bench.modes == ["reverse"] * 3


def test_a_known_program_is_prepared_for_a_new_layout_without_being_sent_again() -> None:
    bench = Bench()
    bench.admit(program=PROGRAM)
    bench.admit(value([1.0]), value(2.0), program_id=ID, rows=1, layout=Layout(shared_inputs=(1,)))
    assert [call[1] for call in bench.preparing.calls] == [Layout(), Layout(shared_inputs=(1,))]


def test_id_and_program_must_agree() -> None:
    refusal = Bench().refused(program_id="sha256:" + "0" * 64, program=PROGRAM)
    assert refusal.reason == "PROGRAM_HASH_MISMATCH"
    assert ID in refusal.message


def test_one_of_id_and_program_is_needed() -> None:
    assert Bench().refused().reason == "MALFORMED_REQUEST"


def test_a_refusal_is_remembered_and_the_program_not_prepared_again() -> None:
    bench = Bench()
    bench.preparing.refusal = from_engine(GraphError("no such value", path="graph.nodes[0]"))
    for _ in range(3):
        refusal = bench.refused(program=PROGRAM)
        assert (refusal.reason, refusal.violations) == ("INVALID_GRAPH", (("graph.nodes[0]", "no such value"),))
    assert len(bench.preparing.calls) == 1
    bench.clock.advance(61)
    bench.refused(program=PROGRAM)
    assert len(bench.preparing.calls) == 2


def test_a_refusal_that_may_pass_is_not_remembered() -> None:
    bench = Bench()
    bench.preparing.refusal = Refusal("QUEUE_FULL", "full", retry_after=2.0)
    assert bench.refused(program=PROGRAM).retry_after == 2.0
    bench.preparing.refusal = None
    bench.admit(program=PROGRAM)


def test_preparing_has_until_the_deadline() -> None:
    bench = Bench()
    bench.preparing.refusal = TimeoutError()
    assert bench.refused(program=PROGRAM).reason == "EXPIRED_WHILE_PREPARING"
    assert bench.preparing.calls[0][2] == 10


def test_tenants_do_not_share_programs() -> None:
    bench = Bench()
    bench.admit(program=PROGRAM, tenant="one")
    assert bench.refused(program_id=ID, tenant="two").reason == "PROGRAM_NOT_FOUND"


def test_the_native_executor_is_refused_by_name() -> None:
    refusal = Bench().refused(program=PROGRAM, options=RequestOptions(executor=2))
    assert refusal.reason == "UNSUPPORTED_EXECUTOR"


# Phases and deadlines


@pytest.mark.parametrize(
    ("phase", "reason"), [(Phase.STARTING, "SERVER_STARTING"), (Phase.DRAINING, "SERVER_DRAINING")]
)
def test_only_a_serving_server_admits(phase: Phase, reason: str) -> None:
    bench = Bench()
    bench.admission.phase = phase
    assert bench.refused(program=PROGRAM).reason == reason


def test_a_deadline_is_the_calls_the_requests_or_the_servers_whichever_is_first() -> None:
    admission = Bench().admission
    assert admission.deadline(100, None, RequestOptions()) == 160
    assert admission.deadline(100, 5, RequestOptions()) == 105
    assert admission.deadline(100, 5, RequestOptions(timeout=2)) == 102
    assert admission.deadline(100, 5, RequestOptions(timeout=20)) == 105
    assert admission.deadline(100, 500, RequestOptions()) == 600


@pytest.mark.parametrize(("call", "own"), [(0.0, None), (-1.0, None), (5.0, 0.0), (None, -1.0)])
def test_a_deadline_that_has_passed_is_refused(call: float | None, own: float | None) -> None:
    with pytest.raises(Refusal, match="DEADLINE_INFEASIBLE"):
        Bench().admission.deadline(100, call, RequestOptions(timeout=own))


# Constants

WIDE = prepared_program(inputs=[("x", FLOAT64), ("w", FLOAT64.with_shape((1000,)))])
SHARED = Layout(shared_inputs=(1,))


def test_a_constant_sent_with_its_digest_is_kept_and_then_known_by_it() -> None:
    bench = Bench(WIDE)
    w = np.arange(1000.0)
    refusal = bench.refused(value([1.0]), by_digest(w), program=PROGRAM, rows=1, layout=SHARED)
    assert refusal.reason == "CONSTANT_NOT_FOUND"
    assert refusal.details == {"digests": digest_of(w).hex(), "missing": "1"}
    bench.admit(value([1.0]), kept(w), program=PROGRAM, rows=1, layout=SHARED)
    job = bench.admit(value([1.0]), by_digest(w), program=PROGRAM, rows=1, layout=SHARED)
    stored = job.payload.operands[1]
    assert isinstance(stored, StoredConstant)
    assert stored.content == w.tobytes()


def test_all_missing_constants_are_named_at_once() -> None:
    prepared = prepared_program(inputs=[(str(i), FLOAT64) for i in range(30)])
    arrays = [np.array(float(i)) for i in range(30)]
    refusal = Bench(prepared).refused(*[by_digest(array) for array in arrays], program=PROGRAM)
    assert refusal.details["missing"] == "30"
    assert refusal.details["digests"].split(",") == [digest_of(array).hex() for array in arrays[:20]]


def test_a_digest_that_is_not_that_of_the_data_is_refused() -> None:
    w = np.arange(1000.0)
    lie = OutgoingTensor.inline(w + 1, digest_of(w))
    refusal = Bench(WIDE).refused(value([1.0]), lie, program=PROGRAM, rows=1, layout=SHARED)
    assert refusal.reason == "CONSTANT_HASH_MISMATCH"
    assert refusal.violations[0][0] == "inputs[1].digest"


def test_a_digest_of_an_array_of_another_type_is_not_found() -> None:
    bench = Bench(WIDE)
    bench.admit(value([1.0]), kept(np.arange(1000.0)), program=PROGRAM, rows=1, layout=SHARED)
    other = prepared_program(inputs=[("x", FLOAT64), ("w", FLOAT64.with_shape((500,)))])
    bench.preparing.prepared = other
    lie = OutgoingTensor(DType.FLOAT64, (500,), None, digest_of(np.arange(1000.0)))
    refusal = bench.refused(value([1.0]), lie, program=b"another", rows=1, layout=SHARED)
    assert refusal.reason == "CONSTANT_NOT_FOUND"


def test_what_a_request_holds_it_gives_back() -> None:
    bench = Bench(WIDE)
    w = np.arange(1000.0)
    bench.refused(value([1.0, 2.0]), kept(w), program=PROGRAM, rows=1, layout=SHARED)
    job = bench.admit(value([1.0]), kept(w), program=PROGRAM, rows=1, layout=SHARED)
    stored = job.payload.operands[1]
    assert isinstance(stored, StoredConstant)
    assert (stored.users, bench.admission.ledger.requests) == (1, 1)
    job.settle()
    assert (stored.users, bench.admission.ledger.requests, bench.admission.ledger.nbytes) == (0, 0, 0)


def test_a_refused_request_holds_nothing() -> None:
    prepared = prepared_program(inputs=[("a", FLOAT64), ("b", FLOAT64)])
    bench = Bench(prepared)
    one = np.array(1.0)
    bench.admit(kept(one), value(2.0), program=PROGRAM).settle()
    bench.refused(by_digest(one), by_digest(np.array(2.0)), program=PROGRAM)
    stored = bench.admission.constants.hold("", digest_of(one), FLOAT64)
    assert stored is not None
    assert stored.users == 1


# Who may share a batch


def key(job: Job[EvaluatePayload]) -> object:
    return (job.tenant, job.key)


def test_requests_for_the_same_program_and_layout_may_share_a_batch() -> None:
    bench = Bench()
    a, b = bench.admit(program=PROGRAM), bench.admit(value(5.0), value(6.0), program=PROGRAM)
    other = bench.admit(value([1.0]), value([2.0]), program=PROGRAM, rows=1, layout=Layout(outputs=(0,)))
    assert key(a) == key(b) != key(other)
    assert not a.solo


def test_shared_inputs_must_be_equal() -> None:
    bench = Bench()
    jobs = [
        bench.admit(value([1.0]), value(shared), program=PROGRAM, rows=1, layout=SHARED) for shared in (2.0, 2.0, 3.0)
    ]
    assert key(jobs[0]) == key(jobs[1]) != key(jobs[2])


def test_shared_constants_are_equal_if_their_digests_are() -> None:
    bench = Bench(WIDE)
    w = np.arange(1000.0)
    a = bench.admit(value([1.0]), kept(w), program=PROGRAM, rows=1, layout=SHARED)
    b = bench.admit(value([2.0]), by_digest(w), program=PROGRAM, rows=1, layout=SHARED)
    c = bench.admit(value([2.0]), kept(w + 1), program=PROGRAM, rows=1, layout=SHARED)
    assert key(a) == key(b) != key(c)
    assert not a.solo


def test_a_large_shared_input_without_a_digest_runs_alone() -> None:
    bench = Bench(WIDE)
    assert SHARED_BY_VALUE < 1000 * 8
    job = bench.admit(value([1.0]), value(np.arange(1000.0)), program=PROGRAM, rows=1, layout=SHARED)
    assert job.solo


def test_summed_outputs_run_alone() -> None:
    job = Bench().admit(value([1.0]), value([1.0]), program=PROGRAM, rows=1, layout=Layout(summed_outputs=(0,)))
    assert job.solo


def test_a_large_constant_as_rows_runs_alone_and_a_small_one_does_not() -> None:
    bench = Bench()
    rows = SMALL_BYTES // 8 + 1
    large, small = np.zeros(rows), np.zeros(3)
    assert bench.admit(kept(large), value(large), program=PROGRAM, rows=rows).solo
    assert not bench.admit(kept(small), value(small), program=PROGRAM, rows=3).solo


# Room


def test_tensors_are_bounded_in_bytes_and_one_request_always_fits() -> None:
    bench = Bench(max_admitted_bytes=16 * MIB)
    rows = 800_000
    big = value(np.zeros(rows)), value(np.zeros(rows))
    first = bench.admit(*big, program=PROGRAM, rows=rows)
    assert bench.admission.ledger.nbytes == 3 * 8 * rows > 16 * MIB
    refusal = bench.refused(program=PROGRAM)
    assert refusal.reason == "QUEUE_FULL"
    assert refusal.retry_after is not None
    assert refusal.details["name"] == "max-admitted-bytes"
    first.settle()
    bench.admit(program=PROGRAM)
