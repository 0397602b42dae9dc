"""The names by which both sides know the service, its calls and its executors, each with what the contract has for it.

The contract in `proto/` is the only place that spells them out. Nothing here changes after import.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gradwire.v1 import service_pb2

SERVICE: Final[str] = service_pb2.DESCRIPTOR.services_by_name["GradientService"].full_name
"""The service's full name: gradwire.v1.GradientService."""

EXECUTORS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "": service_pb2.EXECUTOR_UNSPECIFIED,
        "reference": service_pb2.EXECUTOR_REFERENCE,
        "native": service_pb2.EXECUTOR_NATIVE,
    }
)
"""The numbers of the enum `Executor`, by the names used in code; "" leaves the choice to the server."""

EXECUTOR_NAMES: Final[Mapping[int, str]] = MappingProxyType({number: name for name, number in EXECUTORS.items()})
"""The names used in code, by the numbers of the enum `Executor`."""


def method_path(call: str) -> str:
    """What gRPC calls an RPC: ``/gradwire.v1.GradientService/Evaluate`` for "Evaluate"."""
    return f"/{SERVICE}/{call}"
