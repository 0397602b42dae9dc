"""Gradwire: exact values and derivatives of plain numpy functions, computed by a service.

    import numpy as np
    import gradwire as gw

    def f(x, y):
        return np.sin(x) + x * y

    with gw.connect("localhost:50051"):      # no target: $GRADWIRE_TARGET, else a private service is started
        gw.value_and_grad(f, argnums=(0, 1))(1.5, 2.0)

Names are loaded when they are first used (PEP 562), so that `gradwire.wire` and `gradwire.v1` can be imported without
grpc and without the SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradwire._version import __version__

if TYPE_CHECKING:
    from gradwire import special as special
    from gradwire.checking import check_grads as check_grads
    from gradwire.client import Client as Client
    from gradwire.client import connect as connect
    from gradwire.control_flow import checkpoint as checkpoint
    from gradwire.control_flow import cond as cond
    from gradwire.control_flow import fori_loop as fori_loop
    from gradwire.control_flow import scan as scan
    from gradwire.control_flow import while_loop as while_loop
    from gradwire.costs import Cost as Cost
    from gradwire.costs import cost as cost
    from gradwire.errors import CheckError as CheckError
    from gradwire.errors import GradwireError as GradwireError
    from gradwire.errors import InvalidRequestError as InvalidRequestError
    from gradwire.errors import OverloadedError as OverloadedError
    from gradwire.errors import RequestError as RequestError
    from gradwire.errors import RowError as RowError
    from gradwire.errors import ServiceError as ServiceError
    from gradwire.errors import ShapeError as ShapeError
    from gradwire.errors import TimeLimitError as TimeLimitError
    from gradwire.errors import TracingError as TracingError
    from gradwire.errors import UnavailableError as UnavailableError
    from gradwire.errors import UnsupportedError as UnsupportedError
    from gradwire.functions import Remote as Remote
    from gradwire.graphs import Graph as Graph
    from gradwire.graphs import load as load
    from gradwire.graphs import trace as trace
    from gradwire.reporting import Report as Report
    from gradwire.reporting import reports as reports
    from gradwire.tables import TraceTable as TraceTable
    from gradwire.tables import explain as explain
    from gradwire.transformations import grad as grad
    from gradwire.transformations import hessian as hessian
    from gradwire.transformations import hvp as hvp
    from gradwire.transformations import jacfwd as jacfwd
    from gradwire.transformations import jacobian as jacobian
    from gradwire.transformations import jacrev as jacrev
    from gradwire.transformations import jvp as jvp
    from gradwire.transformations import remote as remote
    from gradwire.transformations import stop_gradient as stop_gradient
    from gradwire.transformations import value_and_grad as value_and_grad
    from gradwire.transformations import vjp as vjp
    from gradwire.transformations import vmap as vmap

_HOME = {
    "checking": ("check_grads",),
    "client": ("Client", "connect"),
    "control_flow": ("checkpoint", "cond", "fori_loop", "scan", "while_loop"),
    "costs": ("Cost", "cost"),
    "errors": (
        "CheckError",
        "GradwireError",
        "InvalidRequestError",
        "OverloadedError",
        "RequestError",
        "RowError",
        "ServiceError",
        "ShapeError",
        "TimeLimitError",
        "TracingError",
        "UnavailableError",
        "UnsupportedError",
    ),
    "tables": ("TraceTable", "explain"),
    "functions": ("Remote",),
    "graphs": ("Graph", "load", "trace"),
    "reporting": ("Report", "reports"),
    "transformations": (
        "grad",
        "hessian",
        "hvp",
        "jacfwd",
        "jacobian",
        "jacrev",
        "jvp",
        "remote",
        "stop_gradient",
        "value_and_grad",
        "vjp",
        "vmap",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "CheckError",
    "Client",
    "Cost",
    "GradwireError",
    "Graph",
    "InvalidRequestError",
    "OverloadedError",
    "Remote",
    "Report",
    "RequestError",
    "RowError",
    "ServiceError",
    "ShapeError",
    "TimeLimitError",
    "TraceTable",
    "TracingError",
    "UnavailableError",
    "UnsupportedError",
    "__version__",
    "check_grads",
    "checkpoint",
    "cond",
    "connect",
    "cost",
    "explain",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "load",
    "remote",
    "reports",
    "scan",
    "special",
    "stop_gradient",
    "trace",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is not None:
        found = getattr(import_module(f"gradwire.{module}"), name)
    elif name == "special":
        found = import_module("gradwire.special")
    else:
        raise AttributeError(f"module 'gradwire' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
