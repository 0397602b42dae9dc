"""Nested arguments and results: tuples, named tuples, lists and dicts, with anything else as their leaves.

A `Tree` is the structure without the leaves: immutable, hashable, compared by value. Leaves stand in the order in which
the containers were written; dicts are matched by key, so two dicts of one structure may list their keys in any order.
None is a structure without leaves. Depth is bounded by Python's recursion limit, as it is for the containers' own repr.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradwire.errors import TracingError


@dataclass(frozen=True, slots=True)
class Tree:
    """A structure: its container (None for a leaf), its children, and for a dict their keys."""

    container: type | None = None
    children: tuple[Tree, ...] = ()
    keys: tuple[Any, ...] = ()

    @property
    def is_leaf(self) -> bool:
        """Whether the whole structure is one leaf."""
        return self.container is None

    @property
    def size(self) -> int:
        """Number of leaves."""
        return 1 if self.container is None else sum(child.size for child in self.children)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The structure with these leaves."""
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.container is None:
            return next(leaves)
        if self.container is type(None):
            return None
        parts = [child._build(leaves) for child in self.children]
        if self.keys:
            return self.container(zip(self.keys, parts, strict=True))
        return self.container(*parts) if _is_named_tuple(self.container) else self.container(parts)

    def paths(self, prefix: str = "") -> list[str]:
        """For each leaf the way to it, as it is written in Python: ``[0]['w']``."""
        if self.container is None:
            return [prefix]
        if self.keys:
            steps = [f"[{key!r}]" for key in self.keys]
        elif _is_named_tuple(self.container):
            steps = [f".{name}" for name in self.container._fields]  # type: ignore[attr-defined]
        else:
            steps = [f"[{index}]" for index in range(len(self.children))]
        return [
            path for step, child in zip(steps, self.children, strict=True) for path in child.paths(f"{prefix}{step}")
        ]

    def spread(self, prefix: Any, what: str) -> list[Any]:
        """One entry of `prefix` for each leaf: the prefix has this structure, cut off anywhere.

        TracingError, with `what` and the place, where it does not fit.
        """
        entries: list[Any] = []
        self._spread(prefix, what, entries)
        return entries

    def _spread(self, prefix: Any, what: str, entries: list[Any]) -> None:
        if self.container is None or self.container is type(None) or not is_container(prefix):
            entries.extend([prefix] * self.size)
            return
        if isinstance(prefix, dict) != bool(self.keys or issubclass(self.container, dict)):
            raise TracingError(f"{what} is a {type(prefix).__name__} where {self} is expected")
        if isinstance(prefix, dict):
            if set(prefix) != set(self.keys):
                raise TracingError(f"{what} has the keys {list(prefix)}, expected {list(self.keys)}")
            parts: Sequence[Any] = [prefix[key] for key in self.keys]
        else:
            parts = prefix
            if len(parts) != len(self.children):
                raise TracingError(f"{what} has {len(parts)} entries, expected {len(self.children)}")
        for child, part, key in zip(self.children, parts, self.keys or range(len(parts)), strict=True):
            child._spread(part, f"{what}[{key!r}]", entries)

    def leaves_of(self, value: Any, what: str) -> list[Any]:
        """The leaves of a value that must have exactly this structure; None stands for a leaf that is left out."""
        leaves = self.spread(value, what)
        for leaf in leaves:
            if is_container(leaf):
                raise TracingError(f"{what} is nested deeper than {self}")
        if not self.is_leaf and not is_container(value) and self.container is not type(None):
            raise TracingError(f"{what} is a {type(value).__name__}, expected {self}")
        return leaves

    def __str__(self) -> str:
        if self.container is None:
            return "*"
        if self.container is type(None):
            return "None"
        inner = [str(child) for child in self.children]
        if self.keys or issubclass(self.container, dict):
            return "{" + ", ".join(f"{key!r}: {child}" for key, child in zip(self.keys, inner, strict=True)) + "}"
        name = "" if self.container in (tuple, list) else self.container.__name__
        left, right = ("[", "]") if self.container is list else ("(", ")")
        return f"{name}{left}{', '.join(inner)}{',' if self.container is tuple and len(inner) == 1 else ''}{right}"


LEAF: Final = Tree()
NOTHING: Final = Tree(type(None))


def _is_named_tuple(kind: type) -> bool:
    return issubclass(kind, tuple) and hasattr(kind, "_fields")


def is_container(value: Any) -> bool:
    """Whether the value is a structure rather than a leaf; None is neither here."""
    kind = type(value)
    return kind is tuple or kind is list or kind is dict or kind is OrderedDict or _is_named_tuple(kind)


def flatten(value: Any) -> tuple[list[Any], Tree]:
    """The leaves and the structure."""
    leaves: list[Any] = []
    return leaves, _flatten(value, leaves)


def _flatten(value: Any, leaves: list[Any]) -> Tree:
    if value is None:
        return NOTHING
    kind = type(value)
    if kind is tuple or kind is list or _is_named_tuple(kind):
        return Tree(kind, tuple([_flatten(part, leaves) for part in value]))
    if kind is dict or kind is OrderedDict:
        return Tree(kind, tuple([_flatten(part, leaves) for part in value.values()]), tuple(value))
    leaves.append(value)
    return LEAF


def tuple_of(*children: Tree) -> Tree:
    """The structure of a tuple."""
    return Tree(tuple, children)


def compose(outer: Tree, inner: Callable[[int], Tree]) -> Tree:
    """`outer` with each leaf, counted from 0, replaced by a structure."""
    counter = iter(range(outer.size))

    def replace(tree: Tree) -> Tree:
        if tree.container is None:
            return inner(next(counter))
        return Tree(tree.container, tuple([replace(child) for child in tree.children]), tree.keys)

    return replace(outer)
