"""The repository as a whole: its top level, its words, its version."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
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
