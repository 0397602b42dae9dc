"""What goes from step to step of a loop.

A carry keeps its structure and its types from step to step; Python numbers that a body returns take the type of the
carry, as they take that of an array in an expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from gradwire.calls.arguments import leaf_type, refuse
from gradwire.control_flow.bodies import is_python_number, takes
from gradwire.errors import TracingError
from gradwire.tracing.capture import name_of
from gradwire.tracing.promotion import as_type
from gradwire.tracing.trees import Tree, flatten
from gradwire_engine.types import TensorType


@dataclass(frozen=True)
class Carry:
    """What goes from step to step of a loop: its leaves, and the types that they keep."""

    what: str
    """The loop, for messages."""
    function: Callable[..., Any]
    leaves: list[Any]
    tree: Tree
    types: list[TensorType]
    names: list[str]

    @staticmethod
    def of(what: str, function: Callable[..., Any], init: Any) -> Carry:
        """The first one. Python numbers are float64, int64 and bool, as arguments are."""
        leaves, tree = flatten(init)
        names = tree.paths("carry" if what == "scan" else "val")
        types = [leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)]
        typed = [
            as_type(leaf, type.dtype.numpy)[()] if is_python_number(leaf) else leaf
            for leaf, type in zip(leaves, types, strict=True)
        ]
        return Carry(what, function, typed, tree, types, names)

    @property
    def value(self) -> Any:
        """As the function sees it."""
        return self.tree.build(self.leaves)

    def following(self, returned: Any) -> Carry:
        """The next one, as the function returned it."""
        return replace(self, leaves=self.leaves_of(returned))

    def leaves_of(self, returned: Any) -> list[Any]:
        """The leaves of what the function returned, each of the type that it went in with; TracingError otherwise."""
        try:
            leaves = self.tree.leaves_of(returned, self.names[0] if self.tree.is_leaf else "what comes out")
        except TracingError as error:
            raise refuse(
                f"{self.what}: what comes out of {name_of(self.function)} is not nested like what goes in: {error}"
            ) from None
        return [self._carried(*each) for each in zip(leaves, self.types, self.names, strict=True)]

    def _carried(self, leaf: Any, type: TensorType, name: str) -> Any:
        if is_python_number(leaf) and takes(type, leaf_type(leaf, name).dtype):
            return as_type(leaf, type.dtype.numpy)[()]
        got = None if leaf is None else leaf_type(leaf, f"{name}, which {name_of(self.function)} returns,")
        if got == type:
            return leaf
        raise refuse(
            f"{self.what}: {name} goes in as {type} and comes out of {name_of(self.function)} as {got}; its type stays "
            f"the same from step to step{_remedy(type, got)}"
        )


def _remedy(type: TensorType, got: TensorType | None) -> str:
    if got is None:
        return ""
    if got.shape != type.shape:
        return f". Start with an array of the shape {got.shape}, or bring what comes out to {type.shape}"
    if got.dtype.is_floating and not type.dtype.is_floating:
        start = "0.0 instead of 0" if not type.shape else ".astype(np.float64)"
        return f". Start with floating-point numbers: {start}"
    return f". Convert what comes out with .astype(np.{type.dtype.value}), or start with np.{got.dtype.value}"
