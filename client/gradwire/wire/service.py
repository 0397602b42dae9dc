"""The service's name, as the wire contract says it: in calls, in health checks and in metrics."""

from __future__ import annotations

from typing import Final

from gradwire.v1 import service_pb2

SERVICE: Final[str] = service_pb2.DESCRIPTOR.services_by_name["GradientService"].full_name
