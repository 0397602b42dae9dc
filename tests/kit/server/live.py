"""A whole server in this process, its real workers, and a client that speaks bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from tests.kit.server.exposition import samples

import gradwire_engine.vocabulary as v
from gradwire.wire.programs import encode_program, program_id
from gradwire.wire.requests import evaluate_parts, join
from gradwire.wire.responses import Evaluated, decode_evaluated
from gradwire.wire.service import SERVICE
from gradwire.wire.status import StatusDetails, decode_status
from gradwire.wire.tensors import OutgoingTensor
from gradwire_engine.builder import GraphBuilder
from gradwire_engine.program import Grad, Program
from gradwire_engine.types import DType, TensorType
from gradwire_server.app import Server
from gradwire_server.config.table import ServerConfig
from gradwire_server.config.texts import MIB

SCALAR = TensorType(DType.FLOAT64)


def encoded(builder: GraphBuilder, outputs: Sequence[Any], *transforms: Any) -> bytes:
    names = tuple([f"out{index}" for index in range(len(outputs))])
    return encode_program(Program(builder.finish(outputs, names), transforms))


def gradient_program() -> bytes:
    """Value and gradient of sin(x) + x * y."""
    builder = GraphBuilder()
    x, y = builder.input("x", SCALAR), builder.input("y", SCALAR)
    return encoded(builder, [v.sin(x) + x * y], Grad((0, 1), True))


def weighted_program(length: int) -> bytes:
    """The dot product of a row of numbers with weights."""
    builder = GraphBuilder()
    x, w = [builder.input(name, SCALAR.with_shape((length,))) for name in "xw"]
    return encoded(builder, [v.sum_over(x * w, (0,))])


def slow_program(steps: int, length: int = 4096) -> bytes:
    """x plus the mean of a long row, which takes about `steps * length * 15` nanoseconds to make and is always 0."""
    builder = GraphBuilder()
    x = builder.input("x", SCALAR)
    row = v.broadcast_to(x, (length,))
    for _ in range(steps):
        row = v.sin(row)
    return encoded(builder, [x + v.sum_over(row, (0,)) * 0.0])


def method(name: str) -> str:
    """An RPC as gRPC calls it."""
    return f"/{SERVICE}/{name}"


class Failed(Exception):
    """A call that failed, with what its status says."""

    def __init__(self, code: str, said: StatusDetails, trailers: dict[str, Any]) -> None:
        super().__init__(f"{code} {said.reason}: {said.message}")
        self.code = code
        self.said = said
        self.trailers = trailers

    @property
    def reason(self) -> str:
        return self.said.reason


class Client:
    """Calls with bytes; what fails raises Failed."""

    def __init__(self, address: str) -> None:
        size = 64 * MIB + 1024
        options = [("grpc.max_receive_message_length", size), ("grpc.max_send_message_length", size)]
        self.channel = grpc.insecure_channel(address, options=[*options, ("grpc.use_local_subchannel_pool", 1)])

    def call(self, name: str, request: bytes, timeout: float = 120.0, **options: Any) -> bytes:
        try:
            return self.channel.unary_unary(method(name))(request, timeout=timeout, **options)  # type: ignore[no-any-return]
        except grpc.RpcError as error:
            raise failed(error) from None

    def evaluate(self, *inputs: object, timeout: float = 120.0, **fields: Any) -> Evaluated:
        outgoing: Iterable[OutgoingTensor] = [
            one if isinstance(one, OutgoingTensor) else OutgoingTensor.inline(np.asarray(one)) for one in inputs
        ]
        return decode_evaluated(self.call("Evaluate", join(evaluate_parts(inputs=outgoing, **fields)), timeout))

    def close(self) -> None:
        self.channel.close()


def failed(error: Any) -> Failed:
    trailers = dict(error.trailing_metadata() or ())
    return Failed(error.code().name, decode_status(trailers.get("grpc-status-details-bin", b"")), trailers)


class Live:
    """A server that runs, and a client of it."""

    def __init__(self, **options: Any) -> None:
        small = {"worker_memory": 512 * MIB, "prepare_memory": 512 * MIB, "workers": 2, "preparers": 1}
        fields = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0", **small, **options}
        self.config = ServerConfig(**fields)
        self.server = Server(self.config)
        self.server.start()
        self.client = Client(self.server.grpc_address)

    def counted(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        return sum(
            number
            for (found, with_labels), number in samples(self.server.metrics).items()
            if found == name and set(labels.items()) <= set(with_labels)
        )

    @contextmanager
    def workers_held(self) -> Iterator[None]:
        """All workers are taken, so that whatever comes has to wait."""
        held = []
        while (worker := self.server.pool.acquire(short=True)) is not None:
            held.append(worker)
        assert len(held) == self.config.workers
        try:
            yield
        finally:
            for worker in held:
                self.server.pool.release(worker)

    @staticmethod
    def wait_until(condition: Callable[[], bool]) -> None:
        """Poll until something happens elsewhere that says nothing when it does."""
        for _ in range(12_000):
            if condition():
                return
            threading.Event().wait(0.005)
        raise AssertionError("it did not happen within 60 s")

    def close(self) -> None:
        self.client.close()
        self.server.close()


GRADIENT = gradient_program()
GRADIENT_ID = program_id(GRADIENT)
