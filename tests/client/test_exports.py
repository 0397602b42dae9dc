"""The public names are a written list, and importing the package loads nothing that is not asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kit.client.special_functions import SAMPLES

import gradwire as gw

NAMES = {
    # setting up
    "connect", "Client",
    # transformations
    "remote", "grad", "value_and_grad", "jvp", "vjp", "jacfwd", "jacrev", "jacobian", "hessian", "hvp", "vmap",
    "Remote", "stop_gradient", "special",
    # branches and loops
    "cond", "scan", "while_loop", "fori_loop", "checkpoint",
    # looking inside
    "trace", "Graph", "load", "cost", "Cost", "explain", "TraceTable", "reports", "Report", "check_grads",
    # errors
    "GradwireError", "TracingError", "ShapeError", "CheckError", "ServiceError", "RequestError", "InvalidRequestError",
    "UnsupportedError", "OverloadedError", "TimeLimitError", "UnavailableError", "RowError",
    "__version__",
}  # fmt: skip
SPECIAL = {
    "avg_pool", "conv", "conv_transpose", "convolve", "correlate", "max_pool",
    "at_add", "at_max", "at_min", "at_multiply", "at_set", "one_hot", "top_k",
    "cho_factor", "cho_solve", "expm", "solve_triangular",
    "log_softmax", "logsumexp", "softmax", "multigammaln", "polygamma",
    "elu", "gelu", "leaky_relu", "relu", "silu", "swish",
    "random_bits", "random_normal", "random_uniform",
    *SAMPLES,  # element by element
}  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert set(gw.__all__) == NAMES
    assert len(gw.__all__) == len(NAMES)
    assert set(dir(gw)) == NAMES
    assert set(gw.special.__all__) == SPECIAL
    assert len(gw.special.__all__) == len(SPECIAL)
    assert set(dir(gw.special)) >= SPECIAL


def test_type_checkers_are_told_of_the_same_names_in_the_same_modules() -> None:
    tree = ast.parse(Path(gw.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    told = {alias.name: node.module for node in imports for alias in node.names}
    assert told.pop("special") == "gradwire"
    assert told == {name: f"gradwire.{module}" for name, module in gw._MODULE_OF.items()}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(gw, name)
    assert name == "__version__" or found.__doc__


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'gradient'"):
        _ = gw.gradient  # type: ignore[attr-defined]


def loaded_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(finished.stdout.split())


def test_the_wire_is_loaded_without_grpc_and_without_the_sdk() -> None:
    modules = loaded_by("import gradwire.wire.programs, gradwire.wire.requests, gradwire.v1.service_pb2")
    assert "grpc" not in modules
    assert not {name for name in modules if name.startswith("gradwire.")} - {
        name for name in modules if name.startswith(("gradwire.wire", "gradwire.v1", "gradwire._version"))
    }


def test_tracing_needs_neither_grpc_nor_scipy_nor_an_executor() -> None:
    modules = loaded_by("import numpy as np, gradwire as gw\nprint(gw.trace(gw.grad(np.sin), 1.0))")
    assert not {"grpc", "scipy", "tqdm", "gradwire_server", "gradwire_engine.execute"} & modules


def test_names_that_are_also_modules_stay_functions() -> None:
    import gradwire.calls.reports
    import gradwire.inspection.tables

    assert callable(gw.reports)
    assert callable(gw.explain)
    assert gradwire.inspection.tables.explain is gw.explain
