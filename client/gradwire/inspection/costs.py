"""What a call costs, before it runs: the service's own bounds, by which it admits and schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradwire.calls.transformed import TransformedFunction
from gradwire.connection.default import current_client
from gradwire.connection.replies import parsed
from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.trace import active_trace
from gradwire.v1 import service_pb2


@dataclass(frozen=True)
class Cost:
    """Bounds on what one call needs."""

    flops: int
    """Floating-point operations; loops at their bounds."""
    bytes: int
    """All buffers that are alive at the same time, arguments and results included."""
    nodes: int
    """Operations that remain after optimisation."""
    seconds: float
    """What a worker is expected to take: from what such calls took, or from `flops` as long as there was none."""
    open_ended: bool = False
    """Whether a loop ends when its own condition says so: it may take far fewer operations."""


def cost(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Cost:
    """What the service predicts for ``fun(*args, **kwargs)``, transformed or not. Nothing is run."""
    if active_trace() is not None:
        raise TracingError(at_user_line("cost sends a request, which a traced function cannot"))
    template, _, _ = TransformedFunction.of(fun).prepared(args, kwargs)
    layout = template.layout
    request = service_pb2.RegisterRequest(
        program=template.program.data,
        layouts=[service_pb2.Batch(shared_inputs=layout.shared_inputs, summed_outputs=layout.summed_outputs)],
    )
    answer = parsed(service_pb2.RegisterResponse, current_client().call("Register", request.SerializeToString()))
    bounds = answer.layout_costs[0] if answer.layout_costs else answer.cost
    rows = template.rows
    return Cost(
        flops=bounds.flops.constant + bounds.flops.per_row * rows,
        bytes=bounds.bytes.constant + bounds.bytes.per_row * rows,
        nodes=bounds.nodes,
        seconds=bounds.expected_seconds + bounds.expected_seconds_per_row * rows,
        open_ended=bounds.open_ended,
    )
