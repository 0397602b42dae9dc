"""Rounding, comparisons and logic: ops that are constant between their jumps, so their derivative is zero."""

from __future__ import annotations

import numpy as np

from gradwire_engine.op import Domain, Op, Zero
from gradwire_engine.ops.arithmetic import elementwise
from gradwire_engine.ops.rules import comparison, logical, predicate

_BETWEEN = Domain(-2.4, 2.4, avoid=(-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0))


def _rounding(name: str, evaluate: np.ufunc) -> Op:
    return elementwise(name, 1, evaluate, Zero(), domains=(_BETWEEN,))


def _comparison(name: str, evaluate: np.ufunc) -> Op:
    return elementwise(name, 2, evaluate, Zero(), types=comparison, dtypes="fib")


OPS = (
    _rounding("floor", np.floor),
    _rounding("ceil", np.ceil),
    _rounding("round", np.rint),
    _rounding("trunc", np.trunc),
    _comparison("equal", np.equal),
    _comparison("not_equal", np.not_equal),
    _comparison("less", np.less),
    _comparison("less_equal", np.less_equal),
    _comparison("greater", np.greater),
    _comparison("greater_equal", np.greater_equal),
    elementwise("logical_and", 2, np.logical_and, Zero(), types=logical, dtypes="b"),
    elementwise("logical_or", 2, np.logical_or, Zero(), types=logical, dtypes="b"),
    elementwise("logical_xor", 2, np.logical_xor, Zero(), types=logical, dtypes="b"),
    elementwise("logical_not", 1, np.logical_not, Zero(), types=logical, dtypes="b"),
    elementwise("isnan", 1, np.isnan, Zero(), types=predicate),
    elementwise("isfinite", 1, np.isfinite, Zero(), types=predicate),
    elementwise("isinf", 1, np.isinf, Zero(), types=predicate),
)
