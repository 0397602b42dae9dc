"""The RPCs: bytes in, bytes out. Each handler slices its request, has it admitted, and hands it to the dispatcher.

The road of an evaluation: here -> `admission` (may it run?) -> `scheduling` (when, with whom?) -> `processes` (where?)
-> `admission.ready_program` (whose rows are whose?) -> back here. A handler raises a Refusal where it says no;
`boundary` turns that, and whatever else is raised, into the call's status.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import grpc

from gradwire._version import __version__
from gradwire.v1 import graph_pb2, service_pb2, tensor_pb2
from gradwire.wire.requests import RequestOptions, slice_evaluate, slice_explain, slice_register
from gradwire.wire.responses import EXECUTORS
from gradwire.wire.service import SERVICE
from gradwire.wire.tensors import WIRE_DTYPES
from gradwire_engine.graph import Input
from gradwire_engine.ops.table import OPS, OPSET
from gradwire_engine.program import Layout
from gradwire_server.admission.admission import Admission
from gradwire_server.admission.explain import Explanations
from gradwire_server.admission.programs import checked_id
from gradwire_server.admission.ready_program import ReadyProgram
from gradwire_server.config.table import ServerConfig
from gradwire_server.observe.metrics import Metrics
from gradwire_server.refusal import Refusal
from gradwire_server.rpc.refusals import sliced
from gradwire_server.rpc.status import OK, code_name
from gradwire_server.rpc.streams import Streams
from gradwire_server.scheduling.dispatch import Dispatcher
from gradwire_server.scheduling.job import AnyJob

ANONYMOUS: Final = ""
"""The tenant of everyone, until there are credentials."""


class GradientServicer:
    """The handlers, named like the RPCs. `worker_states()` says how many workers are in which state."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        admission: Admission,
        dispatcher: Dispatcher,
        streams: Streams,
        metrics: Metrics,
        clock: Callable[[], float],
        worker_states: Callable[[], dict[str, int]],
    ) -> None:
        self._admission = admission
        self._explanations = Explanations(config, admission)
        self._dispatcher = dispatcher
        self._streams = streams
        self._metrics = metrics
        self._clock = clock
        self._limits = config.limits()
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

        def remember_mode(known: str) -> None:
            nonlocal mode
            mode = known

        try:
            request = sliced(slice_evaluate, data)
            deadline = self._admission.deadline(arrived, remaining(context), request.options)
            answer = self._run(self._admission.admit(ANONYMOUS, request, deadline, remember_mode), context)
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
        request = sliced(slice_register, data)
        deadline = self._admission.deadline(arrived, remaining(context), _NO_OPTIONS)
        program_id = checked_id("", request.program)
        plain, *laid_out = [
            self._admission.programs.ready(ANONYMOUS, program_id, request.program, layout, deadline)[0]
            for layout in (Layout(), *request.layouts)
        ]
        return service_pb2.RegisterResponse(
            program_id=program_id,
            inputs=[_value(input) for input in plain.prepared.inputs],
            outputs=[_value(output) for output in plain.prepared.outputs],
            cost=_cost(plain),
            layout_costs=[_cost(program) for program in laid_out],
        ).SerializeToString()

    def Explain(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """The trace table of a graph at one point."""
        arrived = self._clock()
        self._admission.check_phase()
        request = sliced(slice_explain, data)
        deadline = self._admission.deadline(arrived, remaining(context), request.options)
        return self._run(self._explanations.admit(ANONYMOUS, request, len(data), deadline), context)

    def GetServerInfo(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Version, limits, operations and present load."""
        states = self._worker_states()
        return service_pb2.GetServerInfoResponse(
            version=__version__,
            opset=OPSET,
            ops=list(OPS),
            executors=[service_pb2.Executor.ValueType(EXECUTORS["reference"])],
            limits=[
                service_pb2.Limit(name=limit.name, value=limit.value, unit=limit.unit, setting=limit.setting)
                for limit in self._limits
            ],
            workers=states["idle"] + states["busy"],
            busy_workers=states["busy"],
            pending_requests=self._admission.ledger.requests,
            pending_seconds=self._dispatcher.queued_seconds,
            uptime_seconds=self._clock() - self._started,
        ).SerializeToString()

    def _run(self, job: AnyJob, context: grpc.ServicerContext) -> bytes:
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


def _value(value: Input) -> graph_pb2.Value:
    dtype = tensor_pb2.DType.ValueType(WIRE_DTYPES[value.type.dtype])
    return graph_pb2.Value(name=value.name, type=tensor_pb2.TensorType(dtype=dtype, shape=value.type.shape))


def _cost(program: ReadyProgram) -> service_pb2.Cost:
    cost, expected = program.prepared.cost, program.prediction
    return service_pb2.Cost(
        flops=service_pb2.LinearBound(constant=cost.flops.constant, per_row=cost.flops.per_row),
        bytes=service_pb2.LinearBound(constant=cost.bytes.constant, per_row=cost.bytes.per_row),
        nodes=cost.nodes,
        open_ended=cost.open_ended,
        expected_seconds=expected.seconds(0),
        expected_seconds_per_row=expected.per_row,
    )
