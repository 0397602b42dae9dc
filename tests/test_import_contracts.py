"""Imports run one way: engine <- wire <- {SDK, server}, and inside each package from its upper rooms to its lower ones.

The contracts are rules about folders: `tests/kit/house/rooms.py` has the rooms of each package in their order, and the
limits of what may be said of them in numbers; `python -m tests.kit.house.signs` prints the numbers.

A contract is a function from the source tree to a list of violations, each "file:line: what". The last tests plant one
violation of each in a small tree and expect it to be caught.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.kit.house.rooms import FUNCTION_LEVEL, HOUSES, LISTS_OF_RECORDS, MOST_LINES, SERVER, House
from tests.kit.house.signs import long_files
from tests.kit.house.source_tree import ROOT, Import, Tree, circles, read_tree, routes, within

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

# The rooms that know gRPC: what does not speak to the network has no business with it. Generated code knows it, too.
ROOMS_WITH_GRPC = ("gradwire_server.rpc", "gradwire.connection", "gradwire.v1")
GRPC = ("grpc", "grpc_health", "grpc_reflection")
CHILDREN = "gradwire_server.child"
STATUS = "gradwire_server.rpc.status"
METRICS = "gradwire_server.observe.metrics"

EXECUTORS = "gradwire_engine.execute"
EXECUTORS_NEVER_IMPORT = ("gradwire_engine.passes", "gradwire_engine.transforms", "gradwire_engine.transform")


def in_stdlib(module: str) -> bool:
    return module.partition(".")[0] in STDLIB


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


def layers_have_no_circles(tree: Tree) -> list[str]:
    edges: dict[str, set[str]] = {}
    for found in tree.imports:
        if found.target in tree.files and layer(found.importer) != layer(found.target):
            edges.setdefault(layer(found.importer), set()).add(layer(found.target))
    return [f"circle of layers: {', '.join(group)}" for group in circles(edges)]


def rooms_import_only_lower_rooms(tree: Tree) -> list[str]:
    return [
        f"{found.place}: the room {importer} of {house.package} must not import {imported}, which is not below it"
        for house in HOUSES
        for (importer, imported), imports in house.arrows(tree).items()
        if house.is_up(importer, imported)
        for found in imports
    ]


def packages_have_no_circles(tree: Tree) -> list[str]:
    return [f"circle: {', '.join(group)}" for house in HOUSES for group in house.circles(tree)]


def few_arrows_lead_from_room_to_room(tree: Tree) -> list[str]:
    return [
        f"{house.package}: {len(arrows)} arrows between rooms, at most {house.most_arrows}: {sorted(arrows)}"
        for house in HOUSES
        if house.most_arrows is not None and len(arrows := house.arrows(tree)) > house.most_arrows
    ]


def no_function_hides_an_import(tree: Tree) -> list[str]:
    ours = tuple(house.package for house in HOUSES)
    others = (found for found in tree.imports if found.importer not in FUNCTION_LEVEL and not found.lazy)
    return refuse(
        others, lambda found: found.in_function and within(found.target, *ours), "a function that is not listed"
    )


def files_are_short(tree: Tree) -> list[str]:
    return [
        f"{tree.files[module]}: {length} lines, at most {MOST_LINES}, and it is not listed"
        for module, length in long_files(tree).items()
        if module not in LISTS_OF_RECORDS
    ]


def executors_optimise_nothing(tree: Tree) -> list[str]:
    return refuse(tree.of(EXECUTORS), lambda found: within(found.target, *EXECUTORS_NEVER_IMPORT), "an executor")


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


def few_rooms_know_grpc(tree: Tree) -> list[str]:
    others = (found for found in tree.imports if not within(found.importer, *ROOMS_WITH_GRPC))
    return refuse(
        others,
        lambda found: within(found.target, *GRPC) or found.target.endswith("_pb2_grpc"),
        f"all but {', '.join(ROOMS_WITH_GRPC)}",
    )


def children_never_load_grpc(tree: Tree) -> list[str]:
    violations = []
    for start in sorted(module for module in tree.files if within(module, CHILDREN)):
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
    layers_have_no_circles,
    rooms_import_only_lower_rooms,
    packages_have_no_circles,
    few_arrows_lead_from_room_to_room,
    no_function_hides_an_import,
    files_are_short,
    executors_optimise_nothing,
    wire_knows_only_messages_and_the_engine,
    server_uses_only_the_wire_of_the_client,
    sdk_executes_nothing,
    sdk_loads_with_the_base_dependencies,
    cli_starts_without_the_server,
    only_status_names_codes,
    only_metrics_knows_prometheus,
    few_rooms_know_grpc,
    children_never_load_grpc,
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
        STATUS, METRICS, CHILDREN, EXECUTORS, *ROOMS_WITH_GRPC, *SERVER_MAY_IMPORT_OF_THE_CLIENT, *SDK_NEVER_IMPORTS,
        *EXECUTORS_NEVER_IMPORT,
    }  # fmt: skip
    assert named <= set(house.files), f"gone or renamed: {sorted(named - set(house.files))}"


@pytest.mark.parametrize("package", HOUSES, ids=lambda package: package.package)
def test_the_table_has_every_room_once_and_no_other(package: House, house: Tree) -> None:
    rooms = {package.room(module) for module in house.files if within(module, package.package)}
    assert sorted(package.rooms) == sorted(rooms)


def test_every_exception_is_still_needed(house: Tree) -> None:
    ours = tuple(package.package for package in HOUSES)
    function_level = {
        found.importer
        for found in house.imports
        if found.in_function and not found.lazy and within(found.target, *ours)
    }
    assert set(FUNCTION_LEVEL) <= function_level
    assert set(LISTS_OF_RECORDS) <= set(long_files(house))


# A violation is caught

INNOCENT = {
    "client/gradwire/__init__.py": "def __getattr__(name):\n    from gradwire import transformations\n",
    "client/gradwire/_version.py": "",
    "client/gradwire/cli.py": "from gradwire import errors\ndef serve():\n    from gradwire_server import app\n",
    "client/gradwire/connection.py": "import grpc\nfrom gradwire import wire, errors\n",
    "client/gradwire/errors.py": "",
    "client/gradwire/transformations.py": "import numpy as np\nfrom gradwire import connection\n",
    "client/gradwire/wire.py": (
        "import hashlib\nimport numpy as np\nfrom google.protobuf import message\n"
        "from gradwire.v1 import service_pb2\nfrom gradwire_engine import graph\n"
    ),
    "client/gradwire/v1/__init__.py": "",
    "client/gradwire/v1/service_pb2.py": "from google.protobuf import descriptor\n",
    "client/gradwire/v1/service_pb2_grpc.py": "import grpc\nfrom gradwire.v1 import service_pb2\n",
    "service/gradwire_engine/__init__.py": "",
    "service/gradwire_engine/types.py": "",
    "service/gradwire_engine/value.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gradwire_engine.types import TensorType\n"
    ),
    "service/gradwire_engine/graph.py": (
        "import math\nimport numpy as np\nfrom gradwire_engine import types\n"
        "def erf(x):\n    from scipy.special import erf\n    return erf(x)\n"
    ),
    "service/gradwire_engine/passes/__init__.py": "",
    "service/gradwire_engine/passes/fold.py": "from gradwire_engine.graph import Graph\n",
    "service/gradwire_engine/plan.py": "from gradwire_engine.passes import fold\n",
    "service/gradwire_engine/transforms.py": "",
    "service/gradwire_engine/prepare.py": "from gradwire_engine.graph import Graph\n",
    "service/gradwire_engine/execute/__init__.py": "",
    "service/gradwire_engine/execute/native.py": "import llvmlite.binding\nfrom gradwire_engine import plan\n",
    "service/gradwire_server/__init__.py": "",
    "service/gradwire_server/app.py": (
        "from gradwire_server import scheduling\nfrom gradwire_server.observe import metrics\n"
        "from gradwire_server.rpc import status\n"
    ),
    "service/gradwire_server/observe/metrics.py": "import prometheus_client\n",
    "service/gradwire_server/child/preparer.py": "from gradwire import wire\n",
    "service/gradwire_server/child/worker.py": (
        "from gradwire import wire\nfrom gradwire_engine.execute import native\n"
    ),
    "service/gradwire_server/scheduling.py": "import threading\n",
    "service/gradwire_server/rpc/servicer.py": "import grpc\nfrom gradwire.v1 import service_pb2_grpc\n",
    "service/gradwire_server/rpc/status.py": "import grpc\nOK = grpc.StatusCode.OK\n",
}


def at(file: str, line: str) -> dict[str, str]:
    """The file with one more line, or the new file of one line."""
    return {file: f"{INNOCENT.get(file, '')}{line}\n"}


def every_room_imports_all_below() -> dict[str, str]:
    rooms = SERVER.rooms[1:]
    return {
        f"service/gradwire_server/{room}/everything.py": "".join(
            [f"from gradwire_server.{lower} import everything\n" for lower in rooms[:index]]
        )
        for index, room in enumerate(rooms)
    }


PLANTED = [
    (engine_is_pure, at("service/gradwire_engine/graph.py", "import threading")),
    (engine_is_pure, at("service/gradwire_engine/graph.py", "import grpc")),
    (engine_is_pure, at("service/gradwire_engine/graph.py", "import scipy.sparse")),
    (engine_is_pure, at("service/gradwire_engine/graph.py", "def f():\n    from time import monotonic")),
    (engine_is_pure, at("service/gradwire_engine/prepare.py", "import llvmlite")),
    (engine_is_pure, at("service/gradwire_engine/prepare.py", "from gradwire import wire")),
    (layers_have_no_circles, at("service/gradwire_engine/prepare.py", "import gradwire.wire")),
    (layers_have_no_circles, at("client/gradwire/errors.py", "from gradwire import cli")),
    (rooms_import_only_lower_rooms, at("service/gradwire_engine/types.py", "from .prepare import Prepared")),
    (rooms_import_only_lower_rooms, at("service/gradwire_engine/passes/fold.py", "from gradwire_engine import plan")),
    (
        rooms_import_only_lower_rooms,
        at("service/gradwire_server/scheduling.py", "from gradwire_server.rpc import status"),
    ),
    (rooms_import_only_lower_rooms, at("client/gradwire/errors.py", "def f():\n    from gradwire import connection")),
    (
        rooms_import_only_lower_rooms,
        at(
            "client/gradwire/errors.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from gradwire import connection",
        ),
    ),
    (rooms_import_only_lower_rooms, at("client/gradwire/helpers.py", "from gradwire import errors")),
    (packages_have_no_circles, at("service/gradwire_engine/types.py", "from gradwire_engine import graph")),
    (
        packages_have_no_circles,
        at("service/gradwire_server/rpc/status.py", "from gradwire_server.rpc import servicer")
        | at("service/gradwire_server/rpc/servicer.py", "def f():\n    from gradwire_server.rpc import status"),
    ),
    (packages_have_no_circles, at("client/gradwire/connection.py", "def f():\n    from . import transformations")),
    (few_arrows_lead_from_room_to_room, every_room_imports_all_below()),
    (
        no_function_hides_an_import,
        at("client/gradwire/transformations.py", "def f():\n    from gradwire import errors"),
    ),
    (
        no_function_hides_an_import,
        at(
            "client/gradwire/transformations.py",
            "class A:\n    def __getattr__(self, name):\n        import gradwire.errors",
        ),
    ),
    (files_are_short, at("service/gradwire_server/scheduling.py", "\n" * MOST_LINES)),
    (
        executors_optimise_nothing,
        at("service/gradwire_engine/execute/native.py", "from gradwire_engine.passes import fold"),
    ),
    (executors_optimise_nothing, at("service/gradwire_engine/execute/native.py", "import gradwire_engine.transforms")),
    (wire_knows_only_messages_and_the_engine, at("client/gradwire/wire.py", "import grpc")),
    (wire_knows_only_messages_and_the_engine, at("client/gradwire/wire.py", "from gradwire import errors")),
    (
        wire_knows_only_messages_and_the_engine,
        at("client/gradwire/wire.py", "from gradwire.v1 import service_pb2_grpc"),
    ),
    (server_uses_only_the_wire_of_the_client, at("service/gradwire_server/app.py", "from gradwire import errors")),
    (server_uses_only_the_wire_of_the_client, at("service/gradwire_server/app.py", "import gradwire")),
    (sdk_executes_nothing, at("client/gradwire/transformations.py", "from gradwire_engine.execute import native")),
    (sdk_executes_nothing, at("client/gradwire/transformations.py", "from gradwire_engine.prepare import Prepared")),
    (sdk_executes_nothing, at("client/gradwire/transformations.py", "def f():\n    import gradwire_server.app")),
    (sdk_loads_with_the_base_dependencies, at("client/gradwire/transformations.py", "import scipy.special")),
    (sdk_loads_with_the_base_dependencies, at("service/gradwire_engine/types.py", "import scipy.special")),
    (cli_starts_without_the_server, at("client/gradwire/cli.py", "from gradwire_server import app")),
    (only_status_names_codes, at("service/gradwire_server/rpc/servicer.py", "GONE = grpc.StatusCode.NOT_FOUND")),
    (only_status_names_codes, at("service/gradwire_server/app.py", "from grpc import StatusCode")),
    (only_metrics_knows_prometheus, at("service/gradwire_server/app.py", "from prometheus_client import Counter")),
    (few_rooms_know_grpc, at("service/gradwire_server/app.py", "import grpc")),
    (few_rooms_know_grpc, at("service/gradwire_server/scheduling.py", "from gradwire.v1 import service_pb2_grpc")),
    (few_rooms_know_grpc, at("client/gradwire/transformations.py", "import grpc")),
    (children_never_load_grpc, at("service/gradwire_server/child/worker.py", "import grpc")),
    (children_never_load_grpc, at("service/gradwire_server/child/limits.py", "import grpc")),
    (
        children_never_load_grpc,
        at("service/gradwire_server/child/preparer.py", "from gradwire_server.rpc import status"),
    ),
    (children_never_load_grpc, at("client/gradwire/__init__.py", "from gradwire import transformations")),
    (nothing_is_pickled, at("client/gradwire/transformations.py", "def f():\n    from pickle import loads")),
]


def planted_tree(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return read_tree(root)


def test_an_innocent_tree_passes(tmp_path: Path) -> None:
    tree = planted_tree(tmp_path, INNOCENT)
    assert [violation for contract in CONTRACTS for violation in contract(tree)] == []


@pytest.mark.parametrize(("contract", "files"), PLANTED, ids=[contract.__name__ for contract, _ in PLANTED])
def test_a_planted_violation_is_caught(
    contract: Callable[[Tree], list[str]], files: dict[str, str], tmp_path: Path
) -> None:
    assert contract(planted_tree(tmp_path, INNOCENT | files))


def test_every_contract_has_a_planted_violation() -> None:
    assert {contract for contract, _ in PLANTED} == set(CONTRACTS)
