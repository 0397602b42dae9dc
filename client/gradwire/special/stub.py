"""`__init__.pyi`: what type checkers and editors know of `gw.special`, whose functions are made from a table.

``python -m gradwire.special.stub`` writes it; a test compares it with what would be written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gradwire import special
from gradwire.numpy_functions.special_functions import SPECIAL_FUNCTIONS, SpecialFunction
from gradwire.special.elementwise import FUNCTIONS

PATH: Final = Path(special.__file__).with_suffix(".pyi")

_HEAD: Final = '''\
"""The names of `gw.special` for type checkers and editors: written by gradwire.special.stub, never edited."""

from typing import Any

'''


def stub() -> str:
    """The whole text."""
    elsewhere = [(getattr(special, name).__module__, name) for name in special.__all__ if name not in FUNCTIONS]
    imports = "".join(f"from {module} import {name} as {name}\n" for module, name in sorted(elsewhere))
    names = "".join(f'    "{name}",\n' for name in special.__all__)
    functions = "\n".join(_function(name, record) for name, record in sorted(_records().items()))
    return f"{_HEAD}{imports}\n__all__ = [\n{names}]\n\n{functions}"


def _records() -> dict[str, SpecialFunction]:
    return {name: record for record in SPECIAL_FUNCTIONS for name in {record.name, record.ufunc or record.name}}


def _function(name: str, record: SpecialFunction) -> str:
    parameters = ", ".join(f"{operand}: Any" for operand in record.operands)
    return f'def {name}({parameters}) -> Any:\n    """{record.text}"""\n'


if __name__ == "__main__":
    PATH.write_text(stub(), encoding="utf-8")
