"""Where ops that move elements move them, by loops over indices as the wire contract describes them.

For each element of the result: its place in the operands laid end to end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

Function = Callable[..., np.ndarray]
"""(attributes, shapes of the operands, indices if there are any) -> places."""


def moved(name: str, attributes: Any, shapes: Sequence[tuple[int, ...]], indices: Any = None) -> np.ndarray:
    """Where each element of the result comes from; -1 where from nowhere, so that it is zero."""
    return MOVES[name](attributes, shapes, indices)


def _table(shape: Sequence[int], source: Callable[[tuple[int, ...]], int]) -> np.ndarray:
    found = np.empty(tuple(shape), dtype=np.int64)
    for place in np.ndindex(*shape):
        found[place] = source(place)
    return found


def _flat(place: Sequence[int], shape: Sequence[int]) -> int:
    """The position of an element in C order."""
    position = 0
    for index, length in zip(place, shape, strict=True):
        position = position * length + index
    return position


def _broadcast_to(a: Any, shapes: Any, _: Any) -> np.ndarray:
    (shape,) = shapes
    new = len(a.shape) - len(shape)

    def source(place: tuple[int, ...]) -> int:
        return _flat([0 if n == 1 else i for i, n in zip(place[new:], shape, strict=True)], shape)

    return _table(a.shape, source)


def _reshape(a: Any, shapes: Any, _: Any) -> np.ndarray:
    return _table(a.shape, lambda place: _flat(place, a.shape))


def _permute_dims(a: Any, shapes: Any, _: Any) -> np.ndarray:
    (shape,) = shapes

    def source(place: tuple[int, ...]) -> int:
        original = [0] * len(shape)
        for axis, index in zip(a.permutation, place, strict=True):
            original[axis] = index
        return _flat(original, shape)

    return _table([shape[axis] for axis in a.permutation], source)


def _slice(a: Any, shapes: Any, _: Any) -> np.ndarray:
    (shape,) = shapes
    counts = [len(range(*bounds)) for bounds in zip(a.start, a.limit, a.stride, strict=True)]
    return _table(
        counts,
        lambda place: _flat([s + i * step for s, i, step in zip(a.start, place, a.stride, strict=True)], shape),
    )


def _flip(a: Any, shapes: Any, _: Any) -> np.ndarray:
    (shape,) = shapes
    return _table(
        shape, lambda place: _flat([shape[k] - 1 - i if k in a.axes else i for k, i in enumerate(place)], shape)
    )


def _pad(a: Any, shapes: Any, _: Any) -> np.ndarray:
    shape, _ = shapes
    lengths = [
        low + high + n + max(n - 1, 0) * gap for low, high, gap, n in zip(a.low, a.high, a.interior, shape, strict=True)
    ]

    def source(place: tuple[int, ...]) -> int:
        steps = [divmod(i - low, gap + 1) for i, low, gap in zip(place, a.low, a.interior, strict=True)]
        inside = all(rest == 0 and 0 <= index < n for (index, rest), n in zip(steps, shape, strict=True))
        return _flat([index for index, _ in steps], shape) if inside else math.prod(shape)

    return _table(lengths, source)


def _concat(a: Any, shapes: Any, _: Any) -> np.ndarray:
    offsets = list(accumulate((math.prod(shape) for shape in shapes), initial=0))
    starts = list(accumulate((shape[a.axis] for shape in shapes), initial=0))
    whole = [*shapes[0]]
    whole[a.axis] = starts[-1]

    def source(place: tuple[int, ...]) -> int:
        which = next(k for k, (_, end) in enumerate(pairwise(starts)) if place[a.axis] < end)
        inner = list(place)
        inner[a.axis] -= starts[which]
        return offsets[which] + _flat(inner, shapes[which])

    return _table(whole, source)


def _element(a: Any, indices: np.ndarray, shape: Sequence[int], place: tuple[int, ...]) -> int:
    """Where batch + offset + I + rest points to in batch + offset + indexed + rest; -1 if out of range."""
    b, p, k = a.batch_dims, a.offset_dims, indices.shape[-1]
    index_rank = indices.ndim - 1 - b
    where = (*place[:b], *place[b + p : b + p + index_rank])
    found = []
    for index, length in zip(indices[where].tolist(), shape[b + p : b + p + k], strict=True):
        index = index + length if index < 0 else index
        if not 0 <= index < length:
            return -1
        found.append(index)
    return _flat([*place[: b + p], *found, *place[b + p + index_rank :]], shape)


def _gather(a: Any, shapes: Any, indices: Any) -> np.ndarray:
    shape = shapes[0]
    first, k = a.batch_dims + a.offset_dims, indices.shape[-1]
    result = (*shape[:first], *indices.shape[a.batch_dims : -1], *shape[first + k :])
    return _table(result, lambda place: _element(a, indices, shape, place))


def landing(attributes: Any, shape: tuple[int, ...], indices: np.ndarray) -> np.ndarray:
    """For each update of a scatter_add, the element of the result that it is added to; -1 if it is dropped."""
    return _table(shape, lambda place: _element(attributes, indices, attributes.shape, place))


MOVES: dict[str, Function] = {
    "broadcast_to": _broadcast_to,
    "reshape": _reshape,
    "permute_dims": _permute_dims,
    "slice": _slice,
    "flip": _flip,
    "pad": _pad,
    "concat": _concat,
    "gather": _gather,
}
