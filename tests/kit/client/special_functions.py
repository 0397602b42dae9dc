"""On what the element-wise functions of `gw.special` are tested: each by its public names, so the list of them, too."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

_REAL = np.array([-800.0, -30.5, -3.0, -1.5, -1e-9, 0.0, 1e-9, 0.5, 2.0, 25.0, 800.0, np.inf, -np.inf, np.nan])
_POSITIVE = np.array([0.0, 1e-300, 1e-9, 0.3, 1.0, 1.5, 2.5, 20.0, 150.0])
_PROBABILITIES = np.array([0.0, 1e-300, 1e-9, 0.3, 0.5, 0.5 + 1e-9, 0.74, 0.76, 1 - 1e-12, 1.0])
_WITH_POLES = np.array([-2.5, -1.25, -0.3, 0.0, -0.0, 0.1, 0.49, 0.5, 1.0, 3.7, 20.0, 171.0, np.inf, np.nan])
_NOT_BELOW_ZERO = np.append(_POSITIVE, -1.0)

_WIDE = np.array([-2.7, -1.3, -0.4, 0.3, 1.1, 2.2])
_ABOVE_ZERO = np.array([0.3, 0.8, 1.3, 2.2, 3.7, 6.1])
_INSIDE = np.array([0.15, 0.3, 0.45, 0.6, 0.75, 0.85])


class Samples(NamedTuple):
    """Of every operand: where values are compared with scipy's, corners and poles among them, and where derivatives."""

    values: np.ndarray = _REAL
    smooth: np.ndarray = _WIDE


SAMPLES: Final = {
    "expit": Samples(),
    "log_expit": Samples(),
    "logit": Samples(_PROBABILITIES, _INSIDE),
    "softplus": Samples(),
    "erf": Samples(),
    "erfc": Samples(),
    "erfcx": Samples(_REAL[1:]),
    "erfinv": Samples(_PROBABILITIES, _INSIDE),
    "erfcinv": Samples(_PROBABILITIES * 2, _INSIDE),
    "ndtr": Samples(),
    "ndtri": Samples(_PROBABILITIES, _INSIDE),
    "log_ndtr": Samples(),
    "gamma": Samples(_WITH_POLES),
    "gammaln": Samples(_WITH_POLES),
    "gammasgn": Samples(np.append(_WITH_POLES, -1.0)),
    "rgamma": Samples(np.append(_WITH_POLES[:-2], [-1.0, -4.0, -200.0])),
    "digamma": Samples(_WITH_POLES),
    "psi": Samples(_WITH_POLES),
    "beta": Samples(_POSITIVE[1:-1], _ABOVE_ZERO),
    "betaln": Samples(_POSITIVE, _ABOVE_ZERO),
    "xlogy": Samples(_NOT_BELOW_ZERO, _ABOVE_ZERO),
    "xlog1py": Samples(_NOT_BELOW_ZERO, _ABOVE_ZERO),
    "entr": Samples(_NOT_BELOW_ZERO, _ABOVE_ZERO),
    "rel_entr": Samples(_NOT_BELOW_ZERO, _ABOVE_ZERO),
    "kl_div": Samples(_NOT_BELOW_ZERO, _ABOVE_ZERO),
    "i0": Samples(_REAL[:-2] / 2),
    "i0e": Samples(),
    "i1": Samples(_REAL[:-2] / 2),
    "i1e": Samples(),
    "exprel": Samples(_REAL[1:-2]),
}
"""Of the functions that are published."""

UFUNCS: Final = {
    **{name: samples for name, samples in SAMPLES.items() if name not in ("digamma", "softplus")},
    "cbrt": Samples(),
    "exp2": Samples(),
    "exp10": Samples(),
    "expm1": Samples(),
    "log1p": Samples(smooth=_ABOVE_ZERO),
    "cosm1": Samples(_REAL[1:10]),
}
"""Of the ufuncs of scipy.special that may be used on traced values, by scipy's own names."""
