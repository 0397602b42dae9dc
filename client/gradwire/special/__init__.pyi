"""The names of `gw.special` for type checkers and editors: written by gradwire.special.stub, never edited."""

from typing import Any

from gradwire.numpy_functions.updates import at_add as at_add
from gradwire.numpy_functions.updates import at_max as at_max
from gradwire.numpy_functions.updates import at_min as at_min
from gradwire.numpy_functions.updates import at_multiply as at_multiply
from gradwire.numpy_functions.updates import at_set as at_set
from gradwire.special.activations import elu as elu
from gradwire.special.activations import gelu as gelu
from gradwire.special.activations import leaky_relu as leaky_relu
from gradwire.special.activations import relu as relu
from gradwire.special.activations import silu as silu
from gradwire.special.activations import swish as swish
from gradwire.special.convolutions import avg_pool as avg_pool
from gradwire.special.convolutions import conv as conv
from gradwire.special.convolutions import conv_transpose as conv_transpose
from gradwire.special.convolutions import convolve as convolve
from gradwire.special.convolutions import correlate as correlate
from gradwire.special.convolutions import max_pool as max_pool
from gradwire.special.elementwise import multigammaln as multigammaln
from gradwire.special.elementwise import polygamma as polygamma
from gradwire.special.matrices import cho_factor as cho_factor
from gradwire.special.matrices import cho_solve as cho_solve
from gradwire.special.matrices import expm as expm
from gradwire.special.matrices import solve_triangular as solve_triangular
from gradwire.special.random import random_bits as random_bits
from gradwire.special.random import random_normal as random_normal
from gradwire.special.random import random_uniform as random_uniform
from gradwire.special.reductions import log_softmax as log_softmax
from gradwire.special.reductions import logsumexp as logsumexp
from gradwire.special.reductions import softmax as softmax
from gradwire.special.selection import one_hot as one_hot
from gradwire.special.selection import top_k as top_k

__all__ = [
    "at_add",
    "at_max",
    "at_min",
    "at_multiply",
    "at_set",
    "avg_pool",
    "beta",
    "betaln",
    "cho_factor",
    "cho_solve",
    "conv",
    "conv_transpose",
    "convolve",
    "correlate",
    "digamma",
    "elu",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "expit",
    "expm",
    "exprel",
    "gamma",
    "gammaln",
    "gammasgn",
    "gelu",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "kl_div",
    "leaky_relu",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "max_pool",
    "multigammaln",
    "ndtr",
    "ndtri",
    "one_hot",
    "polygamma",
    "psi",
    "random_bits",
    "random_normal",
    "random_uniform",
    "rel_entr",
    "relu",
    "rgamma",
    "silu",
    "softmax",
    "softplus",
    "solve_triangular",
    "swish",
    "top_k",
    "xlog1py",
    "xlogy",
]

def beta(a: Any, b: Any) -> Any:
    """gamma(a) gamma(b) / gamma(a + b), without overflow."""

def betaln(a: Any, b: Any) -> Any:
    """The logarithm of the absolute value of `beta`."""

def digamma(x: Any) -> Any:
    """The derivative of `gammaln`."""

def entr(x: Any) -> Any:
    """-x log(x): 0 at 0, -inf below."""

def erf(x: Any) -> Any:
    """The error function."""

def erfc(x: Any) -> Any:
    """1 - erf(x), exact for large x."""

def erfcinv(x: Any) -> Any:
    """The inverse of `erfc`, exact for small x."""

def erfcx(x: Any) -> Any:
    """exp(x**2) erfc(x), without underflow."""

def erfinv(x: Any) -> Any:
    """The inverse of `erf`."""

def expit(x: Any) -> Any:
    """The logistic function, 1 / (1 + exp(-x))."""

def exprel(x: Any) -> Any:
    """(exp(x) - 1) / x, and 1 at 0, where derivatives are right to every order."""

def gamma(x: Any) -> Any:
    """The gamma function."""

def gammaln(x: Any) -> Any:
    """The logarithm of the absolute value of `gamma`, without overflow."""

def gammasgn(x: Any) -> Any:
    """The sign of `gamma`: 1 or -1, NaN at -1, -2, …"""

def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 0."""

def i0e(x: Any) -> Any:
    """exp(-|x|) i0(x)."""

def i1(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 1."""

def i1e(x: Any) -> Any:
    """exp(-|x|) i1(x)."""

def kl_div(x: Any, y: Any) -> Any:
    """rel_entr(x, y) - x + y."""

def log_expit(x: Any) -> Any:
    """The logarithm of `expit`, without underflow."""

def log_ndtr(x: Any) -> Any:
    """The logarithm of `ndtr`; its derivatives are right far in the tail too."""

def logit(x: Any) -> Any:
    """log(x / (1 - x)), the inverse of `expit`; NaN outside [0, 1]."""

def ndtr(x: Any) -> Any:
    """The distribution function of the standard normal distribution."""

def ndtri(x: Any) -> Any:
    """The inverse of `ndtr`."""

def psi(x: Any) -> Any:
    """The derivative of `gammaln`."""

def rel_entr(x: Any, y: Any) -> Any:
    """x log(x / y): 0 where x is 0 and y is not negative, +inf where one is negative or only y is 0."""

def rgamma(x: Any) -> Any:
    """1 / gamma(x), which is 0 at 0, -1, -2, … and has derivatives there."""

def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""

def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0."""

def xlogy(x: Any, y: Any) -> Any:
    """x log(y), and 0 where x is 0."""
