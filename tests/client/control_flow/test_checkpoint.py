"""checkpoint: the same function."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from tests.kit.client.local import LocalClient

import gradwire as gw

TABLE = np.random.default_rng(7).normal(size=(9, 9)) / 4
VECTOR = np.random.default_rng(8).normal(size=9)


def test_a_checkpointed_function_is_the_same_function(service: LocalClient) -> None:
    factor = np.array(2.0)

    @gw.checkpoint
    def layer(w: Any, *, shift: Any = 0.5) -> Any:
        "A layer."
        return {"out": np.tanh(TABLE @ w * factor) + shift}

    def f(w: Any) -> Any:
        return np.sum(layer(layer(w)["out"], shift=w[0])["out"] ** 2)

    assert layer.__name__ == "layer"
    assert layer.__doc__ == "A layer."
    np.testing.assert_allclose(gw.remote(f)(VECTOR), f(VECTOR), rtol=1e-14)
    gw.check_grads(f, (VECTOR,))
    assert str(gw.trace(f, VECTOR)).count("= checkpoint(") == 2
    before = gw.remote(layer)(VECTOR)["out"]
    factor *= 2.0  # what the function reads is watched
    assert not np.allclose(gw.remote(layer)(VECTOR)["out"], before)
    assert pickle.loads(pickle.dumps(gw.checkpoint(np.sin)))(0.5) == np.sin(0.5)
    with pytest.raises(TypeError, match="expected a function"):
        gw.checkpoint(3.0)
