"""The repository as a whole: its top level, its words, its version, its map, the folders of its tests."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from tests.kit.house.map import PAGE, first_sentence, page
from tests.kit.house.rooms import ENGINE, HOUSES, SDK, SERVER
from tests.kit.house.source_tree import ROOT, Tree, read_tree, within

TOP_LEVEL = {"CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "client", "deploy", "proto", "service", "tests"}

# Written in halves, so that this file passes its own test.
UNFINISHED = re.compile(rf"\b({'TO' + 'DO'}|{'FIX' + 'ME'})\b")


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The paths of all files that git tracks, relative to the root."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for path in listing.split("\0") if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def version() -> str:
    text = (ROOT / "client/gradwire/_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def settings() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_top_level_holds_only_what_the_layout_allows(tracked: list[str]) -> None:
    entries = {path.partition("/")[0] for path in tracked}
    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL


def test_no_file_says_that_it_is_unfinished(tracked: list[str]) -> None:
    found = [
        f"{path}:{number}"
        for path in tracked
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_the_installed_version_is_the_one_in_the_source(version: str) -> None:
    assert metadata.version("gradwire") == version, "install again: pip install -e '.[dev]'"


def test_the_changelog_begins_with_the_version_in_the_source(version: str) -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] in (version, "Unreleased")
    assert version in headings


def test_the_tools_know_the_oldest_python(settings: dict) -> None:
    oldest = settings["project"]["requires-python"].removeprefix(">=")
    assert settings["tool"]["mypy"]["python_version"] == oldest
    assert settings["tool"]["ruff"]["target-version"] == "py" + oldest.replace(".", "")


def test_every_package_says_that_it_is_typed(settings: dict) -> None:
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if not (ROOT / package / "py.typed").exists()] == []


def test_the_readme_begins_with_the_two_commands() -> None:
    """`.ci/run` runs them as they stand."""
    demo, tests, *_ = re.findall(
        r"^```bash\n(.+?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert demo.startswith("python3 -m venv .venv && ")
    assert demo.endswith("/gradwire demo\n")
    assert tests.startswith("python3 -m venv .venv && ")
    assert tests.endswith("/python -m pytest\n")


# The map


@pytest.fixture(scope="module")
def tree() -> Tree:
    return read_tree(ROOT)


def test_every_room_says_in_a_sentence_of_its_own_what_it_owns(tree: Tree) -> None:
    rooms = [
        module
        for house in HOUSES
        for module in tree.files
        if module in (house.package, f"{house.package}.{house.room(module)}") and within(module, house.package)
    ]
    sentences = [first_sentence(tree, room) for room in rooms]
    assert [room for room, sentence in zip(rooms, sentences, strict=True) if not 10 < len(sentence) < 160] == []
    assert len(set(sentences)) == len(rooms)


def test_the_map_of_the_rooms_is_that_of_the_tree(tree: Tree) -> None:
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(tree), "run: python -m tests.kit.house.map"


# The tests


def test_tests_stand_in_the_rooms_of_what_they_test() -> None:
    folders = {"engine": ENGINE, "server": SERVER, "client": SDK}
    strangers = [
        path.relative_to(ROOT).as_posix()
        for name, house in folders.items()
        for path in (ROOT / "tests" / name).rglob("test_*.py")
        if path.parent.name != name and path.relative_to(ROOT / "tests" / name).parts[0] not in house.rooms
    ]
    assert strangers == []


def imported_test_modules(root: Path) -> list[str]:
    """The imports in `root`'s tests that take something from a file of tests or a conftest, as text."""
    return [
        f"{path.relative_to(root)}:{node.lineno}: {name}"
        for path in sorted((root / "tests").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported_names(node)
        if name.startswith("tests.") and re.search(r"\.(test_\w+|conftest)(\.|$)", name)
    ]


def imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    source = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [f"{source}{alias.name}" for alias in node.names]


def test_no_helper_is_imported_from_a_file_of_tests() -> None:
    assert imported_test_modules(ROOT) == []


@pytest.mark.parametrize(
    "line",
    ["from tests.wire.test_tensors import dtypes", "import tests.wire.test_tensors", "from tests.wire import test_x"],
)
def test_an_import_from_a_file_of_tests_is_found(line: str, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("from tests.kit.engine import checks\n", encoding="utf-8")
    assert imported_test_modules(tmp_path) == []
    (tmp_path / "tests" / "test_b.py").write_text(f"{line}\n", encoding="utf-8")
    assert len(imported_test_modules(tmp_path)) == 1


SUBJECTS = {"RequestOptions"}
"""Their timeouts are what a test is about."""
WAITS = {"wait", "join", "result", "settimeout", "timeout", "wait_until_empty"}
"""Functions whose arguments without a name are seconds."""
LEAST_SECONDS = 30
PAUSE_SECONDS = 1
"""What is shorter than this is a pause between two looks, or a deadline that is meant to pass."""


def short_waits(file: str, text: str) -> list[str]:
    """The sleeps of a file of tests, and its waits that a slow neighbour could make too short, as text."""
    complaints = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        times = [keyword.value for keyword in node.keywords if keyword.arg == "timeout" and name not in SUBJECTS]
        numbers = [
            argument.value
            for argument in (*times, *(node.args if name in WAITS else ()))
            if isinstance(argument, ast.Constant) and isinstance(argument.value, int | float)
        ]
        if name == "sleep" or any(PAUSE_SECONDS <= number < LEAST_SECONDS for number in numbers):
            complaints.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
    return complaints


def test_tests_wait_for_what_happens_and_never_for_less_than_half_a_minute() -> None:
    """A wait that only ends a test that would hang is long; nothing is measured by the clock on the wall."""
    complaints = [
        complaint
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "benchmarks" not in path.parts
        for complaint in short_waits(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    assert complaints == []


@pytest.mark.parametrize(
    "line", ["time.sleep(0.1)", "event.wait(10)", "call(b'', timeout=20.0)", "@mark.timeout(5)\ndef test(): ..."]
)
def test_a_short_wait_is_found(line: str) -> None:
    assert short_waits("a", "event.wait(0.01)\nevent.wait(60)\nRequestOptions(timeout=2)\n") == []
    assert len(short_waits("a", f"event.wait(60)\n{line}\n")) == 1


def test_the_kit_holds_no_tests() -> None:
    kit = sorted((ROOT / "tests" / "kit").rglob("*.py"))
    assert [path.name for path in kit if path.name.startswith("test_") or path.name == "conftest.py"] == []
    assert [
        path.name for path in kit if re.search(r"^(?:async )?def test_", path.read_text(encoding="utf-8"), re.M)
    ] == []
