"""numpy.einsum: subscripts parsed, operands contracted two at a time, in numpy's own order of least work.

Per operand: repeated letters become diagonals, letters that nobody else has are summed. Per pair: letters that both
have and the rest needs are shared axes, letters that both have and nobody else needs are contracted.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradwire.numpy_functions.contractions import contract
from gradwire.numpy_functions.operands import Array, Table, promoted, require_default, wrong, xp
from gradwire.tracing.trace import Tracer


def einsum(
    *operands: Any,
    out: Any = None,
    optimize: Any = False,
    dtype: Any = None,
    order: Any = None,
    casting: Any = None,
) -> Array:
    """numpy.einsum, with subscripts as a text or as lists of integers."""
    require_default("einsum", out=out, dtype=dtype)
    subscripts, arrays = _normalized(operands)
    tracers = promoted(arrays, "einsum")
    inputs, output = _parsed(subscripts, tracers)
    lengths = _lengths(inputs, tracers)
    terms = [_prepared(term, x, lengths) for term, x in zip(inputs, tracers, strict=True)]
    for pair in _order(terms, output, lengths):
        chosen = [terms[i] for i in pair]
        rest = [terms[i] for i in range(len(terms)) if i not in pair]
        needed = set(output).union(*[letters for letters, _ in rest])
        terms = [*rest, _combined(chosen, needed)]
    letters, result = terms[0]
    letters, result = _summed(letters, result, set(output))
    if set(letters) != set(output):
        raise wrong(f"einsum: the output {output!r} names letters that no operand has")
    return xp.transpose(result, [letters.index(letter) for letter in output])


def _normalized(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Subscripts as a text, and the arrays."""
    if isinstance(operands[0], str):
        return operands[0].replace(" ", ""), list(operands[1:])
    arrays, terms = list(operands[0 : len(operands) - len(operands) % 2 : 2]), list(operands[1::2])
    subscripts = ",".join([_spelled(term) for term in terms])
    if len(operands) % 2:
        subscripts += "->" + _spelled(operands[-1])
    return subscripts, arrays


def _spelled(term: Sequence[Any]) -> str:
    """A list of integers as letters."""
    return "".join("..." if number is Ellipsis else string.ascii_letters[number] for number in term)


def _parsed(subscripts: str, arrays: Sequence[Tracer]) -> tuple[list[str], str]:
    """One letter for each axis of each operand, and the output's letters; ellipses become letters of their own."""
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise wrong(f"einsum: {len(terms)} terms in {subscripts!r} for {len(arrays)} operands")
    unused = [letter for letter in string.ascii_letters if letter not in subscripts]
    widest = 0
    for term, x in zip(terms, arrays, strict=True):
        named = term.replace("...", "", 1)
        extra = x.ndim - len(named)
        if extra < 0 or (extra > 0 and "..." not in term) or not (named.isalpha() or named == ""):
            raise wrong(f"einsum: {term!r} does not fit an operand of shape {x.shape}")
        widest = max(widest, extra if "..." in term else 0)
    ellipsis = "".join(unused[:widest])
    inputs = []
    for term, x in zip(terms, arrays, strict=True):
        extra = x.ndim - len(term.replace("...", ""))
        inputs.append(term.replace("...", ellipsis[len(ellipsis) - extra :] if extra else ""))
    if arrow:
        return inputs, right.replace("...", ellipsis)
    letters = "".join(terms).replace("...", "")
    return inputs, ellipsis + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))


def _lengths(inputs: Sequence[str], arrays: Sequence[Tracer]) -> dict[str, int]:
    """The length of each letter's axis; 1 gives way."""
    lengths: dict[str, int] = {}
    for term, x in zip(inputs, arrays, strict=True):
        for letter, length in zip(term, x.shape, strict=True):
            known = lengths.get(letter, 1)
            if known != 1 and length not in (1, known):
                raise wrong(f"einsum: the letter {letter!r} stands for axes of lengths {known} and {length}")
            lengths[letter] = length if known == 1 else known
    return lengths


def _prepared(term: str, x: Tracer, lengths: dict[str, int]) -> tuple[str, Tracer]:
    """An operand with each letter once: diagonals taken, axes of length 1 that stand for longer ones removed."""
    for letter in set(term):
        axes = [i for i, other in enumerate(term) if other == letter]
        while len(axes) > 1:
            first, second = axes[0], axes[1]
            if x.shape[first] != x.shape[second]:
                shape = list(x.shape)
                shape[first] = shape[second] = lengths[letter]
                x = xp.broadcast_to(x, shape)
            x = xp.diagonal(x, axis1=first, axis2=second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
            axes = [i for i, other in enumerate(term) if other == letter]
    single = [i for i, letter in enumerate(term) if x.shape[i] == 1 and lengths[letter] != 1]
    if single:
        x = xp.squeeze(x, tuple(single))
        term = "".join(letter for i, letter in enumerate(term) if i not in single)
    return term, x


def _order(terms: Sequence[tuple[str, Tracer]], output: str, lengths: dict[str, int]) -> list[tuple[int, ...]]:
    """Which terms are combined at each step; positions as in numpy.einsum_path: combined ones go to the end."""
    if len(terms) <= 2:
        return [tuple(range(len(terms)))] if len(terms) == 2 else []
    shown = ",".join(letters for letters, _ in terms)
    shapes = [xp.broadcast_to(0.0, [lengths[letter] for letter in letters]) for letters, _ in terms]
    present = "".join(letter for letter in output if letter in shown)
    path, _ = xp.einsum_path(f"{shown}->{present}", *shapes, optimize="greedy")
    return [(*step,) for step in path[1:]]


def _summed(letters: str, x: Tracer, needed: set[str]) -> tuple[str, Tracer]:
    """Letters that nobody needs, summed away."""
    lost = tuple(i for i, letter in enumerate(letters) if letter not in needed)
    if lost:
        x = xp.any(x, axis=lost) if x.dtype.kind == "b" else xp.sum(x, axis=lost, dtype=x.dtype)
        letters = "".join(letter for letter in letters if letter in needed)
    return letters, x


def _combined(terms: Sequence[tuple[str, Tracer]], needed: set[str]) -> tuple[str, Tracer]:
    """Terms contracted from left to right."""
    letters, x = terms[0]
    for position, (other, y) in enumerate(terms[1:], 1):
        later = needed.union(*[names for names, _ in terms[position + 1 :]])
        letters, x = _summed(letters, x, later | set(other))
        other, y = _summed(other, y, later | set(letters))
        shared = [letter for letter in letters if letter in other and letter in later]
        gone = [letter for letter in letters if letter in other and letter not in later]
        x = contract(
            x,
            y,
            ([letters.index(letter) for letter in gone], [other.index(letter) for letter in gone]),
            ([letters.index(letter) for letter in shared], [other.index(letter) for letter in shared]),
        )
        both = set(shared) | set(gone)
        rest = [letter for letter in letters + other if letter not in both]
        letters = "".join([*shared, *rest])
    return _summed(letters, x, needed) if len(terms) == 1 else (letters, x)


TABLE: Table = {np.einsum: einsum}
