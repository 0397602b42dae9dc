"""The 35 problems of Moré, Garbow and Hillstrom, "Testing Unconstrained Optimization Software" (ACM TOMS 7, 1981).

Some are there with several numbers of variables, each with a published optimum of its own.
"""

from __future__ import annotations

from typing import Final

from tests.corpora import any_sizes, fixed_sizes
from tests.corpora.problem import Problem

PROBLEMS: Final[tuple[Problem, ...]] = (*fixed_sizes.PROBLEMS, *any_sizes.PROBLEMS)
