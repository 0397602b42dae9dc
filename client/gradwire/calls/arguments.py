"""The arguments of a call: their leaves, the types that these have, and what tells calls of one kind from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from gradwire.errors import TracingError
from gradwire.tracing.locations import at_user_line
from gradwire.tracing.promotion import supported
from gradwire.tracing.trace import Tracer
from gradwire.tracing.trees import Tree, flatten
from gradwire_engine.types import DType, TensorType

Leaves = Sequence[Any]

_OF_PYTHON: Final[Mapping[type, TensorType]] = MappingProxyType(
    {
        float: TensorType(DType.FLOAT64),
        int: TensorType(DType.INT64),
        bool: TensorType(DType.BOOL),
    }
)


@dataclass(frozen=True)
class Call:
    """The arguments of one call, without their numbers."""

    tree: Tree
    """The structure of (positional tuple, keyword dict)."""
    types: tuple[TensorType, ...]
    weak: tuple[bool, ...]
    """Which leaves are Python numbers."""
    names: tuple[str, ...]

    @staticmethod
    def of(leaves: Leaves, tree: Tree, names: Sequence[str]) -> Call:
        """The call that these arguments make."""
        types = tuple([leaf_type(leaf, name) for leaf, name in zip(leaves, names, strict=True)])
        weak = tuple([type(leaf) in _OF_PYTHON for leaf in leaves])
        return Call(tree, types, weak, tuple(names))

    @property
    def positional(self) -> tuple[Tree, ...]:
        """The structure of each positional argument."""
        return self.tree.children[0].children

    def leaves_of_argument(self, position: int) -> range:
        """The leaves of one positional argument."""
        start = sum(child.size for child in self.positional[:position])
        return range(start, start + self.positional[position].size)


def call_key(positional: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[Any, Leaves]:
    """A key that is equal for calls with the same structure, element types and shapes; and the arguments' leaves."""
    if not keywords:
        key: list[Any] = []
        for argument in positional:
            kind = type(argument)
            if kind is np.ndarray:
                key.append((argument.dtype.num, argument.shape))
            elif kind is float or kind is int or kind is bool or isinstance(argument, np.generic):
                key.append(kind)
            else:
                break
        else:
            return tuple(key), positional
    leaves, tree = flatten((positional, keywords))
    return (tree, tuple([_kind(leaf) for leaf in leaves])), leaves


def _kind(leaf: Any) -> Any:
    return (leaf.dtype.num, leaf.shape) if isinstance(leaf, np.ndarray) else type(leaf)


def leaf_type(leaf: Any, name: str) -> TensorType:
    """The type of an argument as it is; TracingError, naming the cast, for what is no number or array."""
    of_python = _OF_PYTHON.get(type(leaf))
    if of_python is not None:
        return of_python
    if isinstance(leaf, Tracer):
        type_of: TensorType = leaf._value.type
        return type_of
    if isinstance(leaf, (np.ndarray, np.generic)):
        return TensorType(supported(leaf.dtype, f"argument {name}"), leaf.shape)
    if isinstance(leaf, (bool, int, float)):
        return leaf_type(np.asarray(leaf), name)
    advice = (
        "pass real and imaginary parts as two arguments" if isinstance(leaf, complex) else "pass numbers and arrays"
    )
    if hasattr(leaf, "__array__"):
        advice = "convert it with np.asarray"
    raise TracingError(
        f"argument {name} is a {type(leaf).__name__}; {advice}, nested in tuples, lists and dicts if you like"
    )


def is_floating(type: TensorType) -> bool:
    """Whether values of the type can be differentiated."""
    return type.dtype in (DType.FLOAT32, DType.FLOAT64)


def refuse(message: str, reason: str = "INVALID_ARGUMENT") -> TracingError:
    """The error for a call that cannot be right, with the user's line."""
    return TracingError(at_user_line(message), reason=reason)
