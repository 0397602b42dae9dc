"""A client whose service is the engine itself, in this process: the quickest way to what a request means.

It takes and gives the same bytes as a server, and knows programs and constants as one does, so everything of the SDK
but gRPC is under test. It notes what it was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradwire._version import __version__
from gradwire.bounded import Bounded
from gradwire.errors import GradwireError, InvalidRequestError, RequestError
from gradwire.v1 import service_pb2
from gradwire.wire.explanations import encode_trace_table
from gradwire.wire.programs import decode_program, program_id
from gradwire.wire.requests import SlicedEvaluate, join, slice_evaluate, slice_explain, slice_register
from gradwire.wire.responses import RunReport, evaluated_parts, output_head
from gradwire.wire.tensors import TensorView, array_of, packed_array, tensor_digest
from gradwire_engine.errors import EngineError, RowFailed
from gradwire_engine.execute.numpy.executable import compile
from gradwire_engine.explain import explain
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Layout
from gradwire_engine.types import TensorType


class LocalClient:
    """Stands for a `gradwire.Client` and the service behind it."""

    target = "local"
    timeout = 60.0
    is_usable = True

    def __init__(self, *, max_message_bytes: int = 64 << 20, snapshot_bytes: int = 0) -> None:
        self.max_message_bytes = max_message_bytes
        self.snapshot_bytes = snapshot_bytes
        self.known_programs: Bounded[str, bool] = Bounded(100)
        self.known_constants: Bounded[bytes, bool] = Bounded(100)
        self.programs: dict[str, bytes] = {}
        self.constants: dict[bytes, np.ndarray] = {}
        self.requests: list[SlicedEvaluate] = []
        self.sizes: list[int] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.hold: list[Callable[[], None]] | None = None

    @property
    def last(self) -> SlicedEvaluate:
        return self.requests[-1]

    def require_size(self, nbytes: int) -> None:
        if nbytes > self.max_message_bytes:
            raise InvalidRequestError("too large", reason="MESSAGE_TOO_LARGE")

    def call(self, method: str, request: bytes) -> bytes:
        self.require_size(len(request))
        try:
            return getattr(self, f"_{method.lower()}")(request)
        except EngineError as error:
            raise InvalidRequestError(error.message, reason=error.reason) from None

    def start(self, method: str, request: bytes, done: Callable[[bytes | None, GradwireError | None], None]) -> Any:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

        def finish() -> None:
            self.in_flight -= 1
            try:
                answer = self.call(method, request)
            except GradwireError as error:
                done(None, error)
            else:
                done(answer, None)

        if self.hold is None:
            finish()
        else:
            self.hold.append(finish)
        return Cancellable()

    def close(self) -> None:
        """There is nothing to close."""

    def restart(self) -> None:
        """As a service that has lost its memory, or another replica."""
        self.programs.clear()
        self.constants.clear()

    def _program(self, id: str, data: bytes) -> bytes:
        if data:
            assert not id or id == program_id(data)
            self.programs[program_id(data)] = data
            return data
        if id not in self.programs:
            raise RequestError("unknown program", reason="PROGRAM_NOT_FOUND")
        return self.programs[id]

    def _array(self, tensor: TensorView) -> np.ndarray:
        if tensor.data is None:
            if tensor.digest not in self.constants:
                raise RequestError("unknown constant", reason="CONSTANT_NOT_FOUND")
            return self.constants[tensor.digest]
        array = array_of(tensor.dtype, tensor.shape, tensor.data)
        if tensor.digest:
            assert tensor_digest(tensor.dtype, tensor.shape, tensor.data) == tensor.digest
            self.constants[tensor.digest] = array
        return array

    def _evaluate(self, request: bytes) -> bytes:
        sliced = slice_evaluate(request)
        self.requests.append(sliced)
        self.sizes.append(len(request))
        program = decode_program(self._program(sliced.program_id, sliced.program))
        prepared = prepare(program, sliced.layout)
        rows = 1 if sliced.rows is None else sliced.rows
        inputs = [self._array(tensor) for tensor in sliced.inputs]
        if sliced.rows is None:
            assert sliced.layout == Layout()
            inputs = [array[np.newaxis] for array in inputs]
        outputs, failures = compile(prepared.graph).run_rows(inputs, rows)
        if sliced.rows is None:
            outputs = [output[0] for output in outputs]
        report = RunReport(rows, 1, 0.0, 0.0, 0.0, "reference", __version__)
        if failures and sliced.layout.summed_outputs:
            raise RowFailed(failures[0].message, reason=failures[0].reason)
        return join(evaluated_parts([_outgoing(np.asarray(output)) for output in outputs], failures, report))

    def _register(self, request: bytes) -> bytes:
        sliced = slice_register(request)
        program = decode_program(self._program("", sliced.program))
        answer = service_pb2.RegisterResponse(program_id=program_id(sliced.program))
        for layout in sliced.layouts:
            cost = prepare(program, layout).cost
            answer.layout_costs.add(
                flops=service_pb2.LinearBound(constant=cost.flops.constant, per_row=cost.flops.per_row),
                bytes=service_pb2.LinearBound(constant=cost.bytes.constant, per_row=cost.bytes.per_row),
                nodes=cost.nodes,
            )
        return answer.SerializeToString()

    def _explain(self, request: bytes) -> bytes:
        sliced = slice_explain(request)
        program = decode_program(self._program(sliced.program_id, sliced.program))
        assert not program.transforms
        inputs = [self._array(tensor) for tensor in sliced.inputs]
        seeds = [self._array(tensor) for tensor in sliced.seeds]
        return encode_trace_table(explain(program.graph, inputs, sliced.mode, seeds))


class Cancellable:
    """What stands for a grpc.Future."""

    def cancel(self) -> bool:
        return True


def _outgoing(array: np.ndarray) -> tuple[bytes, memoryview]:
    type = TensorType.of(array)
    return output_head(type), memoryview(packed_array(array, type.dtype).reshape(-1).view(np.uint8))
