"""The rooms of each package, the lowest first, and what may be said of them in numbers.

A room is a folder or a module directly under its package; the package's own `__init__` is one, too. A room imports only
from rooms before it in this table. So the table is the order of the house: a new room, or an arrow that does not fit,
is a decision that is made here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.kit.house.source_tree import Import, Tree, circles, within


@dataclass(frozen=True)
class House:
    """A package and the order of its rooms."""

    package: str
    rooms: tuple[str, ...]
    """The lowest first."""
    most_arrows: int | None = None
    """How many pairs of rooms may import one from the other. None: an arrow costs nothing here but its direction."""
    generated: tuple[str, ...] = ()
    """Rooms whose files are written by a program."""

    def room(self, module: str) -> str:
        """The room that one of the package's modules belongs to."""
        return "__init__" if module == self.package else module.removeprefix(f"{self.package}.").partition(".")[0]

    def arrows(self, tree: Tree) -> dict[tuple[str, str], list[Import]]:
        """The pairs of different rooms (importer, imported), each with the imports that make it."""
        pairs: dict[tuple[str, str], list[Import]] = {}
        for imported in tree.between(self.package):
            pair = self.room(imported.importer), self.room(imported.target)
            if pair[0] != pair[1]:
                pairs.setdefault(pair, []).append(imported)
        return pairs

    def is_up(self, importer: str, imported: str) -> bool:
        """Whether an arrow between two rooms points to one that does not stand below, or to one that is not listed."""
        if importer not in self.rooms or imported not in self.rooms:
            return True
        return self.rooms.index(imported) >= self.rooms.index(importer)

    def circles(self, tree: Tree) -> list[tuple[str, ...]]:
        """The groups of modules that import each other, also inside functions and for types only."""
        edges: dict[str, set[str]] = {}
        for imported in tree.between(self.package):
            edges.setdefault(imported.importer, set()).add(imported.target)
        return circles(edges)

    def written_modules(self, tree: Tree) -> Iterator[str]:
        """The package's modules that people write."""
        for module in tree.files:
            if within(module, self.package) and self.room(module) not in self.generated:
                yield module


ENGINE = House(
    "gradwire_engine",
    rooms=(
        "__init__",
        "errors",
        "bounds",
        "types",
        "attributes",
        "graph",
        "program",
        "value",
        "op",
        "vocabulary",
        "tangents",
        "batching",
        "ops",
        "builder",
        "verify",
        "passes",
        "plan",
        "transforms",
        "transform",
        "prepare",
        "execute",
        "explain",
    ),
)

SERVER = House(
    "gradwire_server",
    rooms=(
        "__init__",
        "machine",
        "config",
        "refusal",
        "ipc",
        "observe",
        "child",
        "processes",
        "scheduling",
        "admission",
        "rpc",
        "app",
        "stopping",
        "cli",
        "__main__",
    ),
    most_arrows=39,
)

SDK = House(
    "gradwire",
    rooms=(
        "_version",
        "errors",
        "bounded",
        "v1",
        "wire",
        "tracing",
        "numpy_functions",
        "special",
        "connection",
        "calls",
        "inspection",
        "transformations",
        "control_flow",
        "checking",
        "__init__",
        "demo",
        "cli",
    ),
    most_arrows=59,
    generated=("v1",),
)

HOUSES = (ENGINE, SERVER, SDK)

FUNCTION_LEVEL = {
    "gradwire.cli": "each command loads what it needs alone: `serve` no SDK, the others no server, which is an extra",
}
"""The modules that may import modules of ours inside functions, with the reason. A lazy `__getattr__` always may."""

MOST_LINES = 350
LISTS_OF_RECORDS = {
    "gradwire_engine.attributes": "records of attributes, one after the other",
    "gradwire_engine.ops.arithmetic": "records of ops, one after the other",
    "gradwire_engine.ops.reductions": "records of ops, one after the other",
    "gradwire_engine.ops.shape": "records of ops, one after the other",
    "gradwire_engine.ops.special": "records of ops, one after the other",
}
"""The files that may be longer than MOST_LINES, with the reason."""
