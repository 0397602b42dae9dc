"""Linear algebra on stacks of matrices: the last two axes are a matrix, the axes before them are kept as they are.

One rule for all of it: a matrix that is not finite, or that LAPACK refuses, gives NaN in its own place of the stack and
touches no other (numpy.linalg raises for the whole stack). Derivatives are implicit: formulas in the results, not in
the steps that led to them. Where structure makes tangents zero is not tracked through a factorisation.
"""

from __future__ import annotations

from gradwire_engine.op import Op
from gradwire_engine.ops.linear_algebra import decompositions, determinants, pseudo_inverse, solving

OPS: tuple[Op, ...] = (*solving.OPS, *determinants.OPS, *decompositions.OPS, *pseudo_inverse.OPS)
