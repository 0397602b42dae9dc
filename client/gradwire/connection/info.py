"""What a service says of itself: version, limits, operations, and how busy it is."""

from __future__ import annotations

from typing import NamedTuple

from gradwire.connection.replies import parsed
from gradwire.v1 import service_pb2
from gradwire.wire.service import EXECUTOR_NAMES


class Limit(NamedTuple):
    """A limit of a service: its name, value and unit, and the option that changes it."""

    name: str
    value: float
    unit: str
    setting: str


class ServerInfo(NamedTuple):
    """What a service is, and how busy."""

    version: str
    opset: int
    ops: tuple[str, ...]
    executors: tuple[str, ...]
    limits: dict[str, Limit]
    workers: int
    busy_workers: int
    pending_requests: int
    pending_seconds: float
    uptime_seconds: float

    def __str__(self) -> str:
        lines = [
            f"gradwire {self.version}, opset {self.opset}, executors: {', '.join(self.executors)}",
            f"workers: {self.workers}, {self.busy_workers} busy",
            f"pending: {self.pending_requests} requests, {self.pending_seconds:.3g} s of work",
            f"up for {self.uptime_seconds:.0f} s",
            "limits:",
            *[f"  {limit.name} = {limit.value:,.10g} {limit.unit} ({limit.setting})" for limit in self.limits.values()],
            f"operations ({len(self.ops)}): {' '.join(self.ops)}",
        ]
        return "\n".join(lines)


def read_info(response: bytes) -> ServerInfo:
    """What a GetServerInfoResponse says; RequestError where it does not parse."""
    message = parsed(service_pb2.GetServerInfoResponse, response)
    return ServerInfo(
        version=message.version,
        opset=message.opset,
        ops=tuple(message.ops),
        executors=tuple(EXECUTOR_NAMES.get(number, str(number)) for number in message.executors),
        limits={limit.name: Limit(limit.name, limit.value, limit.unit, limit.setting) for limit in message.limits},
        workers=message.workers,
        busy_workers=message.busy_workers,
        pending_requests=message.pending_requests,
        pending_seconds=message.pending_seconds,
        uptime_seconds=message.uptime_seconds,
    )
