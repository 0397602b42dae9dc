"""The modules of the project and what they import, read from their source.

No module is imported for it, so a tree shows what any module would import, on every path. An import inside a function
counts like one at the top of the file. Two kinds do not run when a module is loaded, and say so: those under
`if TYPE_CHECKING`, and those inside a module's `__getattr__`, which makes its names lazy (PEP 562).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCE_ROOTS = ("client", "service")


@dataclass(frozen=True)
class Import:
    """One imported module. `from a import b` imports a.b where that is a module of ours, otherwise a."""

    importer: str
    target: str
    place: str
    in_function: bool
    for_types_only: bool
    lazy: bool
    optional: bool

    @property
    def loads(self) -> bool:
        """Whether it can run before anybody asks the importing module for a lazy name."""
        return not (self.for_types_only or self.lazy)


@dataclass(frozen=True)
class Tree:
    """The modules under the source roots: their files, their texts, their syntax trees and their imports."""

    files: dict[str, str]
    texts: dict[str, str]
    syntax: dict[str, ast.Module]
    imports: tuple[Import, ...]

    def of(self, *packages: str) -> Iterator[Import]:
        """The imports of the modules in these packages."""
        return (imported for imported in self.imports if within(imported.importer, *packages))

    def between(self, package: str) -> Iterator[Import]:
        """The imports of a package's modules that lead to others of its modules, and do not wait for a lazy name."""
        for imported in self.of(package):
            inside = imported.target in self.files and within(imported.target, package)
            if inside and imported.target != imported.importer and not imported.lazy:
                yield imported


def within(module: str, *packages: str) -> bool:
    """Whether the module is one of these packages, or inside one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def read_tree(root: Path) -> Tree:
    """Parses every module under `root`'s source roots."""
    files, texts, syntax, packages = {}, {}, {}, set()
    for source_root in SOURCE_ROOTS:
        for path in sorted((root / source_root).rglob("*.py")):
            parts = path.relative_to(root / source_root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if parts[-1] == "__init__":
                packages.add(name)
            files[name] = path.relative_to(root).as_posix()
            texts[name] = path.read_text(encoding="utf-8")
            syntax[name] = ast.parse(texts[name], filename=str(path))
    imports = []
    for name, module in syntax.items():
        collector = ImportCollector(name, name in packages, files)
        collector.visit(module)
        imports += collector.imports
    return Tree(files, texts, syntax, tuple(imports))


class ImportCollector(ast.NodeVisitor):
    """Walks one module and notes its imports, with what surrounds them."""

    def __init__(self, module: str, is_package: bool, files: Mapping[str, str]) -> None:
        self.imports: list[Import] = []
        self._module = module
        self._is_package = is_package
        self._files = files
        self._functions: list[str] = []
        self._classes = 0
        self._for_types_only = False
        self._optional = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            parts = self._module.split(".")
            base = parts[: len(parts) - node.level + self._is_package]
            source = ".".join([*base, source] if source else base)
        ours = within(source, *(name.partition(".")[0] for name in self._files))
        for alias in node.names:
            inner = f"{source}.{alias.name}"
            self._add(source if ours and inner not in self._files else inner, node)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes += 1
        self.generic_visit(node)
        self._classes -= 1

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) not in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            self.generic_visit(node)
            return
        before, self._for_types_only = self._for_types_only, True
        for statement in node.body:
            self.visit(statement)
        self._for_types_only = before
        for statement in node.orelse:
            self.visit(statement)

    def visit_Try(self, node: ast.Try) -> None:
        caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
        before, self._optional = self._optional, self._optional or "ImportError" in caught or "NotFound" in caught
        for statement in node.body:
            self.visit(statement)
        self._optional = before
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def _add(self, target: str, node: ast.stmt) -> None:
        self.imports.append(
            Import(
                importer=self._module,
                target=target,
                place=f"{self._files[self._module]}:{node.lineno}",
                in_function=bool(self._functions),
                for_types_only=self._for_types_only,
                lazy=not self._classes and self._functions[:1] == ["__getattr__"],
                optional=self._optional,
            )
        )


def packages_above(module: str) -> list[str]:
    """a.b.c: a, a.b. Python loads them before the module itself."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def routes(tree: Tree, start: str, counts: Callable[[Import], bool]) -> dict[str, str]:
    """Everything that `start` loads, directly or not, each with the chain of modules that leads to it."""
    edges: dict[str, list[str]] = {}
    for imported in tree.imports:
        if counts(imported):
            edges.setdefault(imported.importer, []).append(imported.target)
    reached = {start: start}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        for target in (*packages_above(module), *edges.get(module, ())):
            if target not in reached:
                reached[target] = f"{reached[module]} -> {target}"
                waiting.append(target)
    return reached


def circles(edges: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """The groups of two nodes or more that reach each other, in alphabetical order."""

    @cache
    def reachable(node: str) -> frozenset[str]:
        seen: set[str] = set()
        waiting = [node]
        while waiting:
            for target in edges.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return frozenset(seen)

    groups = {
        tuple(sorted(other for other in reachable(node) if node in reachable(other)))
        for node in edges
        if node in reachable(node)
    }
    return sorted(group for group in groups if len(group) > 1)
