"""What went over the wire, recorded: a change of these bytes is a change that users see. Recordings are only added to.

`exchanges.json` holds for each case what the SDK sent and what the service answered, and what came of it. Three things
are held to it. The SDK, run on the same programs against a relay that answers as recorded, sends the same bytes in the
same order, and makes the same of the answers. Requests built by hand are the same bytes. And a service that has just
been started answers the recorded bytes with the recorded bytes. `names.json` holds what is named: the SDK's functions
and classes, the codec's, the contract's fields, the metrics.

The rule for floating-point numbers in the service's answers: where the machine's fingerprint (instruction sets, libc,
numpy, scipy) is that of the recording, bit for bit. Elsewhere up to 1e-12 (float32: 1e-5), relative to the number or to
the largest of its tensor, NaN equal to NaN; all else, integers, shapes, errors, texts and costs, exactly, everywhere.
What time makes is masked (`exchanges.py` says what), nothing is skipped, and the last tests change what was recorded
and expect to hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any, Final

import numpy as np
import pytest
from tests.recorded import names
from tests.recorded.cases import Case, outcome
from tests.recorded.exchanges import (
    Answer,
    Exchange,
    Sent,
    answer_differences,
    fingerprint,
    from_json,
    lines_that_differ,
    sent_differences,
    to_json,
)
from tests.recorded.programs import CASES
from tests.recorded.record import EXCHANGES, NAMES, read, samples
from tests.recorded.relay import Live, Recorded, Relay, relay, service

from gradwire.v1 import service_pb2, tensor_pb2

RECORDING: Final = read(EXCHANGES)
RECORDED: Final = RECORDING["cases"]
RECORDED_NAMES: Final = read(NAMES)
PROGRAMS: Final = [name for name, case in CASES.items() if case.program is not None]
REQUESTS: Final = [name for name, case in CASES.items() if case.program is None]


@pytest.fixture(scope="module")
def through() -> Iterator[Relay]:
    with relay() as found:
        yield found


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Live, str]]:
    """A service of one's own, and where its pages are."""
    with service("127.0.0.1:0") as (target, http):
        live = Live(target)
        yield live, http
        live.close()


def test_every_case_is_recorded() -> None:
    assert list(RECORDED) == list(CASES), "python -m tests.recorded.record adds cases"
    assert all(case["calls"] or case["outcome"] for case in RECORDED.values())


# The SDK


def played(case: Case, recorded: dict[str, Any], through: Relay) -> list[str]:
    """What is different when the SDK runs a case against what was recorded of it."""
    exchanges = from_json(recorded)
    through.connect(Recorded(exchanges, any_order=case.any_order))
    told = outcome(case, through.address)
    sent = [one.sent for one in through.passed]
    if case.any_order:
        sent.sort(key=lambda one: one.requests)
    found = sent_differences([one.sent for one in exchanges], sent)
    if told != recorded["outcome"]:
        found += ["outcome:", *lines_that_differ(recorded["outcome"], told)]
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_sdk_sends_what_it_sent_and_makes_the_same_of_the_answers(name: str, through: Relay) -> None:
    found = played(CASES[name], RECORDED[name], through)
    assert not found, "\n".join([name, *found])


def test_requests_built_by_hand_are_the_same_bytes() -> None:
    for name in REQUESTS:
        found = sent_differences([one.sent for one in from_json(RECORDED[name])], CASES[name].requests)
        assert not found, "\n".join([name, *found])


# The service


def answered(recorded: dict[str, Any], live: Live, *, exact: bool, at_once: bool = False) -> list[str]:
    """What is different when a service gets the requests that were recorded."""
    found = []
    exchanges = from_json(recorded)
    answers = live.answers([one.sent for one in exchanges], at_once=at_once)
    for place, (one, answer) in enumerate(zip(exchanges, answers, strict=True)):
        different = answer_differences(one.sent.method, one.answer, answer, exact=exact)
        if different:
            found += [f"call {place}, {one.sent.method}:", *different]
    return found


@pytest.mark.parametrize("name", [name for name in CASES if RECORDED.get(name, {}).get("calls")])
def test_a_service_answers_what_it_answered(name: str, served: tuple[Live, str]) -> None:
    exact = RECORDING["machines"][RECORDED[name].get("machine", 0)] == fingerprint()
    case = CASES[name]
    found = answered(RECORDED[name], served[0], exact=exact, at_once=case.any_order and case.program is None)
    assert not found, "\n".join([name, *found])


def test_every_operation_of_the_service_is_recorded(served: tuple[Live, str]) -> None:
    sent = Sent("GetServerInfo", (b"",))
    info = service_pb2.GetServerInfoResponse.FromString(*served[0].answer(sent).responses)
    assert [f"op {name}" for name in info.ops if f"op {name}" not in RECORDED] == []


# The names


@pytest.mark.parametrize("module", ["gradwire", "gradwire.special"])
def test_the_sdk_has_the_same_names_and_signatures(module: str) -> None:
    assert names.of_the_sdk()[module] == RECORDED_NAMES[module]


@pytest.mark.parametrize("module", RECORDED_NAMES["gradwire.wire"])
def test_the_codec_has_the_same_names_and_signatures(module: str) -> None:
    found = import_module(module)
    recorded = RECORDED_NAMES["gradwire.wire"][module]
    described = {name: names.described(getattr(found, name, None)) for name in recorded}
    for name, description in described.items():
        if isinstance(description, dict):  # a class may have more members than it had
            members = recorded[name]["has"]
            description["has"] = {one: text for one, text in description["has"].items() if one in members}
    assert described == recorded


def test_the_contract_has_the_same_fields() -> None:
    assert names.of_the_contract() == RECORDED_NAMES["gradwire.v1"]


def test_the_metrics_and_pages_are_the_same(served: tuple[Live, str]) -> None:
    live, http = served
    for sent in samples():
        live.answer(sent)
    assert names.of_the_metrics(names.fetched(http, "/metrics")[2]) == RECORDED_NAMES["metrics"]
    assert names.of_the_pages(http) == RECORDED_NAMES["pages"]


# A change is noticed


def changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def spoiled(recorded: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A recording whose first exchange is another; changes of its request by `sent`, of its answer by `answer`."""
    first, *others = from_json(recorded)
    other = Exchange(replace(first.sent, **changes.get("sent", {})), replace(first.answer, **changes.get("answer", {})))
    return {**recorded, **to_json([other, *others])}


def test_a_recording_is_written_and_read_without_loss() -> None:
    for name, recorded in list(RECORDED.items())[::8]:
        assert from_json(to_json(from_json(recorded))) == from_json(recorded), name


@pytest.mark.parametrize("name", ["hessian", "map", "a large array"])
def test_another_byte_in_a_request_is_noticed(name: str, through: Relay) -> None:
    (request,) = from_json(RECORDED[name])[0].sent.requests
    for place in (0, len(request) // 2, len(request) - 1):
        recorded = spoiled(RECORDED[name], sent={"requests": (changed(request, place),)})
        assert any("byte" in line for line in played(CASES[name], recorded, through))


def test_calls_that_are_missing_or_in_another_order_are_noticed(through: Relay) -> None:
    exchanges = from_json(RECORDED["vmap"])
    for others in (exchanges[:-1], exchanges[::-1], [*exchanges, exchanges[0]]):
        recorded = {**RECORDED["vmap"], **to_json(others)}
        assert played(CASES["vmap"], recorded, through)


def test_another_result_is_noticed(through: Relay) -> None:
    recorded = RECORDED["grad"]
    (response,) = from_json(recorded)[0].answer.responses
    message = service_pb2.EvaluateResponse.FromString(response)
    message.outputs[0].data = np.float64(7.0).tobytes()
    found = played(CASES["grad"], spoiled(recorded, answer={"responses": (message.SerializeToString(),)}), through)
    assert found[0] == "outcome:"
    assert any("7.0" in line for line in found)


def test_another_byte_in_an_answer_is_noticed(served: tuple[Live, str]) -> None:
    recorded = RECORDED["op isnan"]
    (response,) = from_json(recorded)[0].answer.responses
    for place in (1, len(response) // 2, len(response) - 1):
        other = spoiled(recorded, answer={"responses": (changed(response, place),)})
        assert any("byte" in line for line in answered(other, served[0], exact=True))


@pytest.mark.parametrize(
    "change",
    [{"code": "NOT_FOUND"}, {"message": "something"}, {"trailers": ()}, {"responses": (b"",)}],
    ids=lambda change: next(iter(change)),
)
def test_another_error_is_noticed(change: dict[str, Any], served: tuple[Live, str]) -> None:
    recorded = RECORDED["evaluate: neither program nor id"]
    for exact in (True, False):
        assert answered(recorded, served[0], exact=exact) == []
        assert answered(spoiled(recorded, answer=change), served[0], exact=exact)


def evaluated(*arrays: Any, executor: int = 1) -> Answer:
    """An answer with these outputs."""
    numbers = {"f": tensor_pb2.DTYPE_FLOAT32, "d": tensor_pb2.DTYPE_FLOAT64, "l": tensor_pb2.DTYPE_INT64}
    found = [np.asarray(one) for one in arrays]
    outputs = [tensor_pb2.Tensor(dtype=numbers[one.dtype.char], shape=one.shape, data=one.tobytes()) for one in found]
    report = service_pb2.Report(executor=service_pb2.Executor.ValueType(executor))
    return Answer((service_pb2.EvaluateResponse(outputs=outputs, report=report).SerializeToString(),))


X: Final = np.array([1.5, -2.0, np.nan, np.inf, 1e-30])
WIDE: Final = np.float32([1.5, 100.0])
ELSEWHERE: Final = [
    ("the same", evaluated(X, WIDE), True),
    ("last bits", evaluated(X * (1 + 4e-16), WIDE * np.float32(1 + 1e-6)), True),
    ("last bits of a sum", evaluated(X + np.array([0, 0, 0, 0, 1e-14]), WIDE), True),
    ("more than last bits", evaluated(X * (1 + 1e-11), WIDE), False),
    ("more than last bits of float32", evaluated(X, WIDE * np.float32(1 + 1e-4)), False),
    ("a number for a NaN", evaluated(np.nan_to_num(X, nan=1.0, posinf=np.inf), WIDE), False),
    ("another infinity", evaluated(X * [1, 1, 1, -1, 1], WIDE), False),
    ("another shape", evaluated(X.reshape(5, 1), WIDE), False),
    ("another type", evaluated(X, WIDE.astype(np.float64)), False),
    ("fewer outputs", evaluated(X), False),
    ("another executor", evaluated(X, WIDE, executor=2), False),
]


@pytest.mark.parametrize(("other", "is_close"), [one[1:] for one in ELSEWHERE], ids=[one[0] for one in ELSEWHERE])
def test_on_another_machine_numbers_may_differ_in_their_last_bits_and_nothing_else(
    other: Answer, is_close: bool
) -> None:
    want = evaluated(X, WIDE)
    assert (answer_differences("Evaluate", want, other, exact=False) == []) is is_close
    assert (answer_differences("Evaluate", want, other, exact=True) == []) is (want == other)


def test_integers_are_the_same_on_every_machine() -> None:
    want, other = evaluated(np.array([2**60, 1])), evaluated(np.array([2**60 + 1, 1]))
    assert answer_differences("Evaluate", want, other, exact=False)


def test_what_time_makes_is_no_difference_and_all_else_is(served: tuple[Live, str]) -> None:
    (sent,) = CASES["evaluate: one example"].requests
    first, second = served[0].answer(sent), served[0].answer(sent)
    assert first == second
    report = service_pb2.EvaluateResponse.FromString(*first.responses).report
    assert (report.batch_rows, report.compute_seconds, report.executor) == (0, 0.0, service_pb2.EXECUTOR_REFERENCE)
