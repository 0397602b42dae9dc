"""A client of EvaluateStream: items are sent one by one, answers read one by one."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
from tests.kit.server.live import GRADIENT_ID, Live, failed, method
from tests.kit.server.ready_programs import tensors

from gradwire.wire.requests import evaluate_parts, join, stream_item_parts
from gradwire.wire.responses import Evaluated, decode_stream_answer
from gradwire.wire.status import StatusDetails


def evaluate(id: int, *inputs: object, **fields: Any) -> bytes:
    return join(stream_item_parts(id, evaluate_parts(inputs=tensors(*inputs), **fields)))


def gradient(id: int, x: float, **fields: Any) -> bytes:
    return evaluate(id, x, 2.0, program_id=GRADIENT_ID, **fields)


class Stream:
    """An open stream."""

    def __init__(self, live: Live, timeout: float | None = 120.0) -> None:
        self._items: SimpleQueue[bytes | None] = SimpleQueue()
        call = live.client.channel.stream_stream(method("EvaluateStream"))
        self.call = call(self._iterate(), timeout=timeout)

    def _iterate(self) -> Iterator[bytes]:
        while (item := self._items.get()) is not None:
            yield item

    def send(self, *items: bytes) -> None:
        for item in items:
            self._items.put(item)

    def end(self) -> None:
        self._items.put(None)

    def answer(self) -> tuple[int, Evaluated | StatusDetails]:
        try:
            answer = decode_stream_answer(next(self.call))
        except grpc.RpcError as error:
            raise failed(error) from None
        assert not isinstance(answer.content, bytes)
        return answer.id, answer.content

    def answers(self, count: int) -> dict[int, Evaluated | StatusDetails]:
        return dict([self.answer() for _ in range(count)])

    def close(self) -> None:
        self.end()
        self.call.cancel()


def value_of(answer: Evaluated | StatusDetails) -> float:
    assert isinstance(answer, Evaluated), answer
    return float(answer.outputs[0])


def reason_of(answer: Evaluated | StatusDetails) -> str:
    assert isinstance(answer, StatusDetails), answer
    return answer.reason
