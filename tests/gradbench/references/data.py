"""The benchmark's own data files, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "gradbench"


def data_file(name: str) -> Path:
    """The path of a file; a test that needs it is skipped where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        pytest.skip(f"no data file {name}")
    return path
