"""Imports run one way: engine <- wire <- {SDK, server}, as `service/DESIGN.md` and the folders promise.

The test reads the source of every module and imports none, so it sees what any of them would import, on every path.
An import inside a function counts like one at the top of the file. Two kinds do not run when a module is loaded, and
are left out where that is the question: those under `if TYPE_CHECKING`, and those inside a module's `__getattr__`,
which makes its names lazy (PEP 562).

A contract is a function from the source tree to a list of violations, each "file:line: what". The last tests plant one
violation of each in a small tree and expect it to be caught.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE_ROOTS = ("client", "service")

STDLIB = sys.stdlib_module_names
PICKLES = {"pickle", "_pickle", "cloudpickle", "copyreg", "dill", "joblib", "marshal", "shelve"}

# The engine is pure: no input or output, no clock, no thread, no process.
NOT_IN_THE_ENGINE = PICKLES | {
    "_thread", "asyncio", "concurrent", "logging", "multiprocessing", "socket", "subprocess", "threading", "time",
}  # fmt: skip
ENGINE_LIBRARIES = ("numpy", "scipy.special", "scipy.linalg")
NATIVE_EXECUTOR = "gradwire_engine.execute.native"

WIRE_MAY_IMPORT = ("gradwire.v1", "gradwire.wire", "gradwire_engine", "google.protobuf", "numpy")
SERVER_MAY_IMPORT_OF_THE_CLIENT = ("gradwire.v1", "gradwire.wire", "gradwire._version")
SDK_NEVER_IMPORTS = ("gradwire_engine.execute", "gradwire_engine.prepare", "gradwire_server")
SDK_LOADS_WITH = ("numpy", "grpc", "google.protobuf")

# The modules of the server that know gRPC. A new name here is a decision: what does not speak to the network has no
# business with it.
_WITH_GRPC = ("rpc.grpc_server", "rpc.health", "rpc.boundary", "rpc.servicer", "rpc.status")
SERVER_MODULES_WITH_GRPC = {f"gradwire_server.{name}" for name in _WITH_GRPC}
GRPC = ("grpc", "grpc_health", "grpc_reflection")
WORKER_SIDE = ("gradwire_server.child.worker", "gradwire_server.child.preparer")
STATUS = "gradwire_server.rpc.status"
METRICS = "gradwire_server.observe.metrics"


# The source tree


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
    """The modules under the source roots: their syntax trees and their imports."""

    files: dict[str, str]
    syntax: dict[str, ast.Module]
    imports: tuple[Import, ...]

    def of(self, *packages: str) -> Iterator[Import]:
        """The imports of the modules in these packages."""
        return (found for found in self.imports if within(found.importer, *packages))


def within(module: str, *packages: str) -> bool:
    """Whether the module is one of these packages, or inside one."""
    return any(module == package or module.startswith(package + ".") for package in packages)


def in_stdlib(module: str) -> bool:
    return module.partition(".")[0] in STDLIB


def read_tree(root: Path) -> Tree:
    """Parses every module under `root`'s source roots."""
    files, syntax, packages = {}, {}, set()
    for source_root in SOURCE_ROOTS:
        for path in sorted((root / source_root).rglob("*.py")):
            parts = path.relative_to(root / source_root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if parts[-1] == "__init__":
                packages.add(name)
            files[name] = path.relative_to(root).as_posix()
            syntax[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = []
    for name, module in syntax.items():
        collector = ImportCollector(name, name in packages, files)
        collector.visit(module)
        imports += collector.found
    return Tree(files, syntax, tuple(imports))


class ImportCollector(ast.NodeVisitor):
    """Walks one module and notes its imports, with what surrounds them."""

    def __init__(self, module: str, is_package: bool, files: dict[str, str]) -> None:
        self.found: list[Import] = []
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
        for statement in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(statement)

    def _add(self, target: str, node: ast.stmt) -> None:
        self.found.append(
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
    for found in tree.imports:
        if counts(found):
            edges.setdefault(found.importer, []).append(found.target)
    reached = {start: start}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        for target in (*packages_above(module), *edges.get(module, ())):
            if target not in reached:
                reached[target] = f"{reached[module]} -> {target}"
                waiting.append(target)
    return reached


def cycles(edges: dict[str, set[str]]) -> list[str]:
    """The groups of two nodes or more that reach each other, one text for each group."""

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
    return [f"cycle: {', '.join(group)}" for group in sorted(groups) if len(group) > 1]


def layer(module: str) -> str:
    """The part of the house that a module of ours belongs to."""
    if within(module, "gradwire.cli", "gradwire.__main__"):
        return "cli"
    for part in ("gradwire_engine", "gradwire_server", "gradwire.v1", "gradwire.wire", "gradwire._version"):
        if within(module, part):
            return part
    return "sdk"


# The contracts


def engine_is_pure(tree: Tree) -> list[str]:
    def allowed(found: Import) -> bool:
        if in_stdlib(found.target):
            return not within(found.target, *NOT_IN_THE_ENGINE)
        native = within(found.importer, NATIVE_EXECUTOR) and within(found.target, "llvmlite")
        return native or within(found.target, "gradwire_engine", *ENGINE_LIBRARIES)

    return refuse(tree.of("gradwire_engine"), lambda found: not allowed(found), "the engine")


def engine_has_no_cycles(tree: Tree) -> list[str]:
    edges: dict[str, set[str]] = {}
    for found in tree.of("gradwire_engine"):
        if within(found.target, "gradwire_engine") and found.loads and found.target != found.importer:
            edges.setdefault(found.importer, set()).add(found.target)
    return cycles(edges)


def layers_have_no_cycles(tree: Tree) -> list[str]:
    edges: dict[str, set[str]] = {}
    for found in tree.imports:
        if found.target in tree.files and layer(found.importer) != layer(found.target):
            edges.setdefault(layer(found.importer), set()).add(layer(found.target))
    return cycles(edges)


def wire_knows_only_messages_and_the_engine(tree: Tree) -> list[str]:
    def allowed(found: Import) -> bool:
        if found.target.endswith("_pb2_grpc"):
            return False
        return in_stdlib(found.target) or within(found.target, *WIRE_MAY_IMPORT)

    return refuse(tree.of("gradwire.wire"), lambda found: not allowed(found), "gradwire.wire")


def server_uses_only_the_wire_of_the_client(tree: Tree) -> list[str]:
    def refused(found: Import) -> bool:
        return within(found.target, "gradwire") and not within(found.target, *SERVER_MAY_IMPORT_OF_THE_CLIENT)

    return refuse(tree.of("gradwire_server"), refused, "the server")


def sdk_executes_nothing(tree: Tree) -> list[str]:
    sdk = (found for found in tree.of("gradwire") if layer(found.importer) == "sdk")
    return refuse(sdk, lambda found: within(found.target, *SDK_NEVER_IMPORTS), "the SDK")


def loads_at_once(found: Import) -> bool:
    """Whether loading the importing module needs the imported one."""
    return found.loads and not found.in_function and not found.optional


def sdk_loads_with_the_base_dependencies(tree: Tree) -> list[str]:
    """`pip install gradwire` is enough for `import gradwire` and for every module of the SDK."""
    violations = []
    for module in sorted(tree.files):
        if layer(module) != "sdk":
            continue
        for target, route in routes(tree, module, loads_at_once).items():
            ours = within(target, "gradwire", "gradwire_engine")
            if not (ours or in_stdlib(target) or within(target, "google", *SDK_LOADS_WITH)):
                violations.append(f"{tree.files[module]}: the SDK loads {target}, by {route}")
    return violations


def cli_starts_without_the_server(tree: Tree) -> list[str]:
    cli = (found for found in tree.of("gradwire") if layer(found.importer) == "cli")
    return refuse(cli, lambda found: within(found.target, "gradwire_server") and not found.in_function, "the CLI's top")


def only_status_names_codes(tree: Tree) -> list[str]:
    violations = []
    for module, syntax in tree.syntax.items():
        if not within(module, "gradwire_server") or module == STATUS:
            continue
        for node in ast.walk(syntax):
            imported = isinstance(node, ast.ImportFrom) and any(alias.name == "StatusCode" for alias in node.names)
            if imported or (isinstance(node, ast.Attribute) and node.attr == "StatusCode"):
                violations.append(f"{tree.files[module]}:{node.lineno}: only {STATUS} names gRPC's status codes")
    return violations


def only_metrics_knows_prometheus(tree: Tree) -> list[str]:
    others = (found for found in tree.imports if found.importer != METRICS)
    return refuse(others, lambda found: within(found.target, "prometheus_client"), f"all but {METRICS}")


def few_server_modules_know_grpc(tree: Tree) -> list[str]:
    others = (found for found in tree.of("gradwire_server") if found.importer not in SERVER_MODULES_WITH_GRPC)
    return refuse(
        others,
        lambda found: within(found.target, *GRPC) or found.target.endswith("_pb2_grpc"),
        "a module of the server that is not listed",
    )


def workers_never_load_grpc(tree: Tree) -> list[str]:
    violations = []
    for start in WORKER_SIDE:
        for target, route in routes(tree, start, lambda found: found.loads).items():
            if within(target, *GRPC):
                violations.append(f"{tree.files[start]}: loads {target}, by {route}")
    return violations


def nothing_is_pickled(tree: Tree) -> list[str]:
    return refuse(tree.imports, lambda found: within(found.target, *PICKLES), "everything")


def refuse(imports: Iterable[Import], refused: Callable[[Import], bool], who: str) -> list[str]:
    """The imports that a contract refuses, as text."""
    return [f"{found.place}: {who} must not import {found.target}" for found in imports if refused(found)]


CONTRACTS = (
    engine_is_pure,
    engine_has_no_cycles,
    layers_have_no_cycles,
    wire_knows_only_messages_and_the_engine,
    server_uses_only_the_wire_of_the_client,
    sdk_executes_nothing,
    sdk_loads_with_the_base_dependencies,
    cli_starts_without_the_server,
    only_status_names_codes,
    only_metrics_knows_prometheus,
    few_server_modules_know_grpc,
    workers_never_load_grpc,
    nothing_is_pickled,
)


# The house keeps them


@pytest.fixture(scope="module")
def house() -> Tree:
    return read_tree(ROOT)


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_the_house_keeps(contract: Callable[[Tree], list[str]], house: Tree) -> None:
    violations = contract(house)
    assert not violations, "\n" + "\n".join(violations)


def test_the_contracts_name_modules_that_exist(house: Tree) -> None:
    named = {
        STATUS, METRICS, *WORKER_SIDE, *SERVER_MODULES_WITH_GRPC, *SERVER_MAY_IMPORT_OF_THE_CLIENT, *SDK_NEVER_IMPORTS,
    }  # fmt: skip
    assert named <= set(house.files), f"gone or renamed: {sorted(named - set(house.files))}"


# A violation is caught

INNOCENT = {
    "client/gradwire/__init__.py": "def __getattr__(name):\n    from gradwire import functions\n",
    "client/gradwire/_version.py": "",
    "client/gradwire/functions.py": "import grpc\nimport numpy as np\nfrom gradwire import wire, errors\n",
    "client/gradwire/errors.py": "",
    "client/gradwire/cli.py": "from gradwire import errors\ndef serve():\n    from gradwire_server import app\n",
    "client/gradwire/wire.py": (
        "import hashlib\nimport numpy as np\nfrom google.protobuf import message\n"
        "from gradwire.v1 import service_pb2\nfrom gradwire_engine import graph\n"
    ),
    "client/gradwire/v1/__init__.py": "",
    "client/gradwire/v1/service_pb2.py": "from google.protobuf import descriptor\n",
    "client/gradwire/v1/service_pb2_grpc.py": "import grpc\nfrom gradwire.v1 import service_pb2\n",
    "service/gradwire_engine/__init__.py": "",
    "service/gradwire_engine/graph.py": (
        "import math\nimport numpy as np\nfrom gradwire_engine import types\n"
        "def erf(x):\n    from scipy.special import erf\n    return erf(x)\n"
    ),
    "service/gradwire_engine/types.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gradwire_engine.graph import Graph\n"
    ),
    "service/gradwire_engine/prepare.py": "from gradwire_engine.graph import Graph\n",
    "service/gradwire_engine/execute/__init__.py": "",
    "service/gradwire_engine/execute/native.py": "import llvmlite.binding\nfrom gradwire_engine import prepare\n",
    "service/gradwire_server/__init__.py": "",
    "service/gradwire_server/app.py": "from gradwire_server import queue\n"
    "from gradwire_server.observe import metrics\nfrom gradwire_server.rpc import status\n",
    "service/gradwire_server/observe/metrics.py": "import prometheus_client\n",
    "service/gradwire_server/child/preparer.py": "from gradwire import wire\n",
    "service/gradwire_server/queue.py": "import threading\n",
    "service/gradwire_server/rpc/status.py": "import grpc\nOK = grpc.StatusCode.OK\n",
    "service/gradwire_server/child/worker.py": (
        "from gradwire import wire\nfrom gradwire_engine.execute import native\n"
    ),
}

PLANTED = [
    (engine_is_pure, "service/gradwire_engine/graph.py", "import threading"),
    (engine_is_pure, "service/gradwire_engine/graph.py", "import grpc"),
    (engine_is_pure, "service/gradwire_engine/graph.py", "import scipy.sparse"),
    (engine_is_pure, "service/gradwire_engine/graph.py", "def f():\n    from time import monotonic"),
    (engine_is_pure, "service/gradwire_engine/prepare.py", "import llvmlite"),
    (engine_is_pure, "service/gradwire_engine/prepare.py", "from gradwire import wire"),
    (engine_has_no_cycles, "service/gradwire_engine/types.py", "from .prepare import Prepared"),
    (engine_has_no_cycles, "service/gradwire_engine/types.py", "def f():\n    from gradwire_engine import graph"),
    (layers_have_no_cycles, "service/gradwire_engine/prepare.py", "import gradwire.wire"),
    (layers_have_no_cycles, "client/gradwire/errors.py", "from gradwire import cli"),
    (wire_knows_only_messages_and_the_engine, "client/gradwire/wire.py", "import grpc"),
    (wire_knows_only_messages_and_the_engine, "client/gradwire/wire.py", "from gradwire import errors"),
    (wire_knows_only_messages_and_the_engine, "client/gradwire/wire.py", "from gradwire.v1 import service_pb2_grpc"),
    (server_uses_only_the_wire_of_the_client, "service/gradwire_server/queue.py", "from gradwire import errors"),
    (server_uses_only_the_wire_of_the_client, "service/gradwire_server/queue.py", "import gradwire"),
    (sdk_executes_nothing, "client/gradwire/functions.py", "from gradwire_engine.execute import native"),
    (sdk_executes_nothing, "client/gradwire/functions.py", "from gradwire_engine.prepare import Prepared"),
    (sdk_executes_nothing, "client/gradwire/functions.py", "def f():\n    import gradwire_server.app"),
    (sdk_loads_with_the_base_dependencies, "client/gradwire/functions.py", "import scipy.special"),
    (sdk_loads_with_the_base_dependencies, "service/gradwire_engine/types.py", "import scipy.special"),
    (cli_starts_without_the_server, "client/gradwire/cli.py", "from gradwire_server import app"),
    (only_status_names_codes, "service/gradwire_server/app.py", "NOT_FOUND = grpc.StatusCode.NOT_FOUND"),
    (only_status_names_codes, "service/gradwire_server/app.py", "from grpc import StatusCode"),
    (only_metrics_knows_prometheus, "service/gradwire_server/app.py", "from prometheus_client import Counter"),
    (few_server_modules_know_grpc, "service/gradwire_server/queue.py", "import grpc"),
    (few_server_modules_know_grpc, "service/gradwire_server/queue.py", "from gradwire.v1 import service_pb2_grpc"),
    (workers_never_load_grpc, "service/gradwire_server/child/worker.py", "import grpc"),
    (workers_never_load_grpc, "service/gradwire_server/child/preparer.py", "from gradwire_server.rpc import status"),
    (workers_never_load_grpc, "client/gradwire/__init__.py", "from gradwire import functions"),
    (nothing_is_pickled, "client/gradwire/functions.py", "def f():\n    from pickle import loads"),
]


def planted_tree(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return read_tree(root)


def test_an_innocent_tree_passes(tmp_path: Path) -> None:
    tree = planted_tree(tmp_path, INNOCENT)
    assert [violation for contract in CONTRACTS for violation in contract(tree)] == []


@pytest.mark.parametrize(("contract", "file", "line"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_violation_is_caught(
    contract: Callable[[Tree], list[str]], file: str, line: str, tmp_path: Path
) -> None:
    tree = planted_tree(tmp_path, INNOCENT | {file: f"{INNOCENT[file]}{line}\n"})
    assert contract(tree)


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _, _ in PLANTED} == set(CONTRACTS)
