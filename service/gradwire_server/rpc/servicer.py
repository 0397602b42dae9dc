"""The RPCs: bytes in, bytes out. Each handler slices its request, has it admitted, and hands it to the dispatcher.

The road of an evaluation: here -> `admission` (may it run?) -> `dispatch` and `queues` (when, with whom?) -> `pool`
(where?) -> `evaluation` (whose rows are whose?) -> back here. What is refused is raised as a Refusal; `interceptors`
turns it, and whatever else is raised, into the call's status.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import grpc

from gradwire.v1 import graph_pb2, service_pb2, tensor_pb2
from gradwire.wire.requests import RequestOptions, slice_evaluate, slice_explain, slice_register
from gradwire.wire.responses import EXECUTORS
from gradwire.wire.tensors import WIRE_DTYPES
from gradwire_engine.errors import EngineError
from gradwire_engine.graph import Input
from gradwire_engine.ops.table import OPS, OPSET
from gradwire_engine.program import Layout
from gradwire_server.admission.admission import Admission
from gradwire_server.admission.explain import ExplainPayload, Explanation
from gradwire_server.admission.ready_program import Evaluation, task_input
from gradwire_server.config.table import Limit
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal, from_engine
from gradwire_server.rpc.health import SERVICE
from gradwire_server.rpc.status import OK, code_name
from gradwire_server.rpc.streams import Streams
from gradwire_server.scheduling.dispatch import Dispatcher
from gradwire_server.scheduling.job import Job

ANONYMOUS: Final = ""
"""The tenant of everyone, until there are credentials."""


class GradientServicer:
    """The handlers, named like the RPCs. `load()` gives worker states by name."""

    def __init__(
        self,
        *,
        admission: Admission,
        dispatcher: Dispatcher,
        streams: Streams,
        explanation: Explanation,
        metrics: Metrics,
        clock: Callable[[], float],
        version: str,
        limits: Sequence[Limit],
        worker_states: Callable[[], dict[str, int]],
    ) -> None:
        self._admission = admission
        self._dispatcher = dispatcher
        self._streams = streams
        self._explanation = explanation
        self._metrics = metrics
        self._clock = clock
        self._version = version
        self._limits = limits
        self._worker_states = worker_states
        self._started = clock()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service as gRPC wants it: raw bytes both ways."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Register": grpc.unary_unary_rpc_method_handler(self.Register),
                "Evaluate": grpc.unary_unary_rpc_method_handler(self.Evaluate),
                "EvaluateStream": grpc.stream_stream_rpc_method_handler(self.EvaluateStream),
                "Explain": grpc.unary_unary_rpc_method_handler(self.Explain),
                "GetServerInfo": grpc.unary_unary_rpc_method_handler(self.GetServerInfo),
            },
        )

    def Evaluate(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Run a program on a batch of examples."""
        arrived = self._clock()
        mode = "unknown"

        def know(found: str) -> None:
            nonlocal mode
            mode = found

        try:
            request = _sliced(slice_evaluate, data)
            deadline = self._admission.deadline(arrived, remaining(context), request.options)
            answer = self._run(self._admission.admit(ANONYMOUS, request, deadline, know), context)
        except Refusal as refusal:
            self._metrics.answered(mode, code_name(refusal.reason))
            self._metrics.rejected(refusal.reason)
            raise
        except Exception:
            self._metrics.answered(mode, code_name("INTERNAL"))
            raise
        self._metrics.answered(mode, OK)
        return answer

    def EvaluateStream(self, items: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Run many, as they come."""
        return self._streams.serve(ANONYMOUS, items, _StreamCall(context))

    def Register(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Prepare a program and keep it."""
        arrived = self._clock()
        self._admission.check_phase()
        request = _sliced(slice_register, data)
        deadline = self._admission.deadline(arrived, remaining(context), _NO_OPTIONS)
        program_id = self._admission.program_id("", request.program)
        evaluations = [
            self._admission.evaluation(ANONYMOUS, program_id, request.program, layout, deadline)[0]
            for layout in (Layout(), *request.layouts)
        ]
        signature = evaluations[0].prepared
        return service_pb2.RegisterResponse(
            program_id=program_id,
            inputs=[_value(one) for one in signature.inputs],
            outputs=[_value(one) for one in signature.outputs],
            cost=_cost(evaluations[0]),
            layout_costs=[_cost(one) for one in evaluations[1:]],
        ).SerializeToString()

    def Explain(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """The trace table of a graph at one point."""
        arrived = self._clock()
        self._admission.check_phase()
        request = _sliced(slice_explain, data)
        deadline = self._admission.deadline(arrived, remaining(context), request.options)
        program_id = self._admission.program_id(request.program_id, request.program)
        program = request.program or self._admission.program(ANONYMOUS, program_id)
        views = (*request.inputs, *request.seeds)
        operands, held = self._admission.hold(ANONYMOUS, views, len(data))
        inputs = tuple([task_input(one.dtype, one.shape, [mine]) for one, mine in zip(views, operands, strict=True)])
        count = len(request.inputs)
        job = Job(
            work=self._explanation,
            payload=ExplainPayload(program, inputs[:count], request.mode, inputs[count:]),
            rows=1,
            nbytes=len(data),
            deadline=deadline,
            key="explain",
            solo=True,
            tenant=ANONYMOUS,
            held=held,
        )
        return self._run(job, context)

    def GetServerInfo(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Version, limits, operations and present load."""
        states = self._worker_states()
        return service_pb2.GetServerInfoResponse(
            version=self._version,
            opset=OPSET,
            ops=list(OPS),
            executors=[service_pb2.Executor.ValueType(EXECUTORS["reference"])],
            limits=[
                service_pb2.Limit(name=one.name, value=one.value, unit=one.unit, setting=one.setting)
                for one in self._limits
            ],
            workers=states["idle"] + states["busy"],
            busy_workers=states["busy"],
            pending_requests=self._admission.ledger.requests,
            pending_seconds=self._dispatcher.queued_seconds,
            uptime_seconds=self._clock() - self._started,
        ).SerializeToString()

    def _run(self, job: Job, context: grpc.ServicerContext) -> bytes:
        def listen() -> None:
            if not context.add_callback(lambda: self._dispatcher.cancel(job)):
                self._dispatcher.cancel(job)

        return self._dispatcher.run(job, listen)


class _StreamCall:
    """A call's context as `streams` sees it."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.remaining = remaining(context)
        self.on_end = context.add_callback


def remaining(context: grpc.ServicerContext) -> float | None:
    """Seconds until the call's deadline, None where it has none."""
    seconds: float | None = context.time_remaining()
    return None if seconds is None or math.isinf(seconds) or seconds > _FOREVER else seconds


_FOREVER: Final = 365 * 86400.0
_NO_OPTIONS: Final = RequestOptions()
_Sliced = TypeVar("_Sliced")


def _sliced(slicer: Callable[[bytes], _Sliced], data: bytes) -> _Sliced:
    try:
        return slicer(data)
    except EngineError as error:
        raise from_engine(error) from None


def _value(one: Input) -> graph_pb2.Value:
    dtype = tensor_pb2.DType.ValueType(WIRE_DTYPES[one.type.dtype])
    return graph_pb2.Value(name=one.name, type=tensor_pb2.TensorType(dtype=dtype, shape=one.type.shape))


def _cost(evaluation: Evaluation) -> service_pb2.Cost:
    cost, expected = evaluation.prepared.cost, evaluation.prediction
    return service_pb2.Cost(
        flops=service_pb2.LinearBound(constant=cost.flops.constant, per_row=cost.flops.per_row),
        bytes=service_pb2.LinearBound(constant=cost.bytes.constant, per_row=cost.bytes.per_row),
        nodes=cost.nodes,
        open_ended=cost.open_ended,
        expected_seconds=expected.seconds(0),
        expected_seconds_per_row=expected.per_row,
    )
