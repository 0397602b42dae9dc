"""By which arguments is differentiated: `argnums`, the leaves that it means, and how the derivatives are nested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradwire.calls.arguments import Call, is_floating, refuse
from gradwire.calls.signature import CallSignature
from gradwire.errors import TracingError
from gradwire.tracing.trees import LEAF, NOTHING, Tree, compose, tuple_of

Argnums = int | Sequence[int]


def checked_argnums(argnums: Any, label: str) -> int | tuple[int, ...]:
    """`argnums` as the caller wrote it, with Python's integers; TracingError for anything else."""
    if isinstance(argnums, (tuple, list)):
        return tuple([_argnum(number, label) for number in argnums])
    return _argnum(argnums, label)


def _argnum(number: Any, label: str) -> int:
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)):
        raise TracingError(
            f"{label}: argnums is {number!r}; give the position of an argument, counted from 0, or a tuple of positions"
        )
    return int(number)


@dataclass(frozen=True)
class Wanted:
    """The leaves by which is differentiated, and the structure that the derivatives come in."""

    leaves: tuple[int, ...]
    tree: Tree


def wanted_arguments(call: Call, argnums: int | tuple[int, ...], label: str, function: str) -> Wanted:
    """The leaves of the arguments `argnums`; all must be floating point."""
    count = len(call.positional)
    numbers = argnums if isinstance(argnums, tuple) else (argnums,)
    positions = []
    for number in numbers:
        if not -count <= number < count:
            raise refuse(f"{label}: argnums={number}, but {function} is called with {count} positional arguments")
        positions.append(number % count)
    if len(set(positions)) != len(positions):
        raise refuse(f"{label}: argnums={argnums} names an argument twice")
    leaves = [leaf for position in positions for leaf in call.leaves_of_argument(position)]
    for leaf in leaves:
        if not is_floating(call.types[leaf]):
            raise refuse(_not_floating(call, leaf, label, function))
    trees = [call.positional[position] for position in positions]
    return Wanted(tuple(leaves), tuple_of(*trees) if isinstance(argnums, tuple) else trees[0])


def _not_floating(call: Call, leaf: int, label: str, function: str) -> str:
    type = call.types[leaf]
    cast = "float(…)" if not type.shape else ".astype(np.float64)"
    return (
        f"{label}: argument {call.names[leaf]} of {function} is {type}, and only floating-point arguments can be "
        f"differentiated. Convert it with {cast}, choose other arguments with argnums=, or evaluate without "
        "derivative with gw.remote"
    )


def all_floating(call: Call) -> tuple[tuple[int, ...], Tree]:
    """All leaves that can be differentiated, and the structure of the positional arguments with None for the others."""
    leaves = tuple([leaf for leaf, type in enumerate(call.types) if is_floating(type)])
    positional = call.tree.children[0]
    return leaves, compose(positional, lambda leaf: LEAF if is_floating(call.types[leaf]) else NOTHING)


def require_floating_results(inner: CallSignature, label: str, function: str) -> None:
    """TracingError for a leaf of the result that cannot be differentiated."""
    for leaf, output in enumerate(inner.results):
        if output < 0 or not is_floating(inner.outputs[output].type):
            got = "None" if output < 0 else str(inner.outputs[output].type)
            path = inner.result.paths("result")[leaf]
            raise refuse(
                f"{label}: {path} of {function} is {got}, and only floating-point results can be differentiated. "
                "Convert it with .astype(np.float64), or do not return it"
            )
