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
from typing import TYPE_CHECKING, Any, Final

from gradwire._version import __version__ as __version__

if TYPE_CHECKING:
    from gradwire import special as special
    from gradwire.calls.reports import Report as Report
    from gradwire.calls.reports import reports as reports
    from gradwire.checking import check_grads as check_grads
    from gradwire.connection.client import Client as Client
    from gradwire.connection.client import connect as connect
    from gradwire.control_flow.branches import cond as cond
    from gradwire.control_flow.checkpoint import checkpoint as checkpoint
    from gradwire.control_flow.loops import fori_loop as fori_loop
    from gradwire.control_flow.loops import scan as scan
    from gradwire.control_flow.loops import while_loop as while_loop
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
    from gradwire.inspection.costs import Cost as Cost
    from gradwire.inspection.costs import cost as cost
    from gradwire.inspection.graphs import Graph as Graph
    from gradwire.inspection.graphs import load as load
    from gradwire.inspection.graphs import trace as trace
    from gradwire.inspection.tables import TraceTable as TraceTable
    from gradwire.inspection.tables import explain as explain
    from gradwire.transformations.gradients import grad as grad
    from gradwire.transformations.gradients import value_and_grad as value_and_grad
    from gradwire.transformations.jacobians import hessian as hessian
    from gradwire.transformations.jacobians import jacfwd as jacfwd
    from gradwire.transformations.jacobians import jacobian as jacobian
    from gradwire.transformations.jacobians import jacrev as jacrev
    from gradwire.transformations.products import hvp as hvp
    from gradwire.transformations.products import jvp as jvp
    from gradwire.transformations.products import vjp as vjp
    from gradwire.transformations.remote import Remote as Remote
    from gradwire.transformations.remote import remote as remote
    from gradwire.transformations.stop_gradient import stop_gradient as stop_gradient
    from gradwire.transformations.vmap import vmap as vmap

_HOME: Final = {
    "calls.reports": ("Report", "reports"),
    "checking": ("check_grads",),
    "connection.client": ("Client", "connect"),
    "control_flow.branches": ("cond",),
    "control_flow.checkpoint": ("checkpoint",),
    "control_flow.loops": ("fori_loop", "scan", "while_loop"),
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
    "inspection.costs": ("Cost", "cost"),
    "inspection.graphs": ("Graph", "load", "trace"),
    "inspection.tables": ("TraceTable", "explain"),
    "transformations.gradients": ("grad", "value_and_grad"),
    "transformations.jacobians": ("hessian", "jacfwd", "jacobian", "jacrev"),
    "transformations.products": ("hvp", "jvp", "vjp"),
    "transformations.remote": ("Remote", "remote"),
    "transformations.stop_gradient": ("stop_gradient",),
    "transformations.vmap": ("vmap",),
}
"""The public names by the modules that they are loaded from."""

_MODULE_OF: Final = {name: module for module, names in _HOME.items() for name in names}

__all__ = sorted([*_MODULE_OF, "__version__", "special"])


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is not None:
        value = getattr(import_module(f"gradwire.{module}"), name)
    elif name == "special":
        value = import_module("gradwire.special")
    else:
        raise AttributeError(f"module 'gradwire' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
