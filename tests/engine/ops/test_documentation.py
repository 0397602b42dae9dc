"""The page about the operations is made from their records, and the one in the repository is fresh."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gradwire_engine.op import Zero
from gradwire_engine.ops import documentation
from gradwire_engine.ops.table import OPS

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_in_the_repository_is_fresh() -> None:
    found = (ROOT / "service" / "OPS.md").read_text(encoding="utf-8")
    assert found == documentation.page(), (
        "service/OPS.md is not what the records say. Write it again: hatch run ops, or by hand what stands at `ops` in "
        "pyproject.toml"
    )


def test_there_is_a_row_for_each_operation_and_a_cell_for_each_heading() -> None:
    rows = [line for line in documentation.page().splitlines() if line.startswith("|")]
    assert [row.split("`")[1] for row in rows[2:]] == list(OPS)
    assert {row.count(" | ") for row in rows} == {8}


def test_the_page_follows_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    before = documentation.page()
    monkeypatch.setattr(documentation, "OPS", OPS | {"sin": replace(OPS["sin"], derivative=Zero(), flops=7.0)})
    changed = set(documentation.page().splitlines()) - set(before.splitlines())
    assert changed == {"| `sin` | 1 | f |  | `(f) → f` | 0 | stack | 7 | numpy |"}


def test_the_task_writes_this_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The line in pyproject.toml, run as it stands."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    command = settings["tool"]["hatch"]["envs"]["default"]["scripts"]["ops"]
    program = command.removeprefix('python -c "').removesuffix('"')
    assert command == f'python -c "{program}"'
    (tmp_path / "service").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(program, {})  # noqa: S102
    assert (tmp_path / "service" / "OPS.md").read_text(encoding="utf-8") == documentation.page()
