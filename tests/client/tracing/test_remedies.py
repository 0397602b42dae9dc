"""What complaints recommend exists."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
from tests.kit.client.evaluating import traced

import gradwire as gw
from gradwire.tracing import remedies


def resolved(name: str) -> Any:
    package, *path = name.split(".")
    return reduce(getattr, path, {"np": np, "gw": gw}[package])


@pytest.mark.parametrize("name", remedies.IN_NUMPY)
def test_functions_of_math_have_another_for_traced_values(name: str) -> None:
    if hasattr(math, name):  # later versions of Python have more
        assert callable(resolved(remedies.IN_NUMPY[name]))


@pytest.mark.parametrize("name", sorted(remedies.NAMED_BY_SCIPY))
def test_what_scipy_names_is_published(name: str) -> None:
    assert name in gw.special.__all__


@pytest.mark.parametrize("name", sorted(remedies.SHAPE_OF_VALUES | set(remedies.OF_FUNCTIONS)))
def test_functions_of_numpy_are_spelled_as_there(name: str) -> None:
    assert any(hasattr(module, name) for module in (np, np.linalg, np.fft))


@pytest.mark.parametrize("name", sorted(remedies.IN_MEMORY | remedies.CHANGES_IN_PLACE))
def test_every_attribute_is_refused_for_its_own_reason(name: str) -> None:
    needs = "needs the memory|need the numbers" if name in remedies.IN_MEMORY else "in place"
    with pytest.raises(gw.TracingError, match=needs):
        traced(lambda x: getattr(x, name)(), 1.0)
