"""Functions that numpy lacks, by their names in scipy.special and scipy.signal, and a few from neural networks.

On traced values they are operations of the service; on plain numbers and arrays they are computed here, so that a
function that uses them can be run as it is.

Each module of this folder lists the names that it publishes. Type checkers and editors read `__init__.pyi`, which
`stub` writes from the same lists.
"""

from __future__ import annotations

from gradwire.numpy_functions import updates
from gradwire.special import activations, convolutions, elementwise, matrices, random, reductions, selection

_MODULES = (activations, convolutions, elementwise, matrices, random, reductions, selection, updates)
_PUBLISHED = {name: getattr(module, name) for module in _MODULES for name in module.__all__} | elementwise.FUNCTIONS

globals().update(_PUBLISHED)
__all__ = sorted(_PUBLISHED)
