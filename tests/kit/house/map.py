"""The map of the rooms, service/MAP.md, made from the first sentences of their docstrings.

    python -m tests.kit.house.map

writes it; a test compares it with the tree.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from tests.kit.house.rooms import ENGINE, SDK, SERVER, House
from tests.kit.house.source_tree import ROOT, Tree, read_tree, within

PAGE = PurePosixPath("service/MAP.md")

_HEAD = """\
# The rooms

Where the line is that you look for. A room is a folder or a file directly under its package. It imports only rooms that
stand below it in its list; `tests/test_import_contracts.py` holds it to that, in the order of
[rooms.py](../tests/kit/house/rooms.py). Tests stand in the same rooms, under `tests/{engine,server,client}`.

This page is written by `python -m tests.kit.house.map` from the first sentences of the rooms' docstrings.
"""


def first_sentence(tree: Tree, module: str) -> str:
    """What a module's docstring says first, on one line."""
    docstring = ast.get_docstring(tree.syntax[module]) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) ", paragraph, maxsplit=1)[0]


def folders_inside(tree: Tree, room: str) -> Iterator[str]:
    """The folders in a room's folder, each after the one it is in."""
    for module, file in sorted(tree.files.items()):
        if module != room and within(module, room) and file.endswith("/__init__.py"):
            yield module


def page_of(house: House, tree: Tree) -> Iterator[str]:
    """The part about one package, line by line, the highest room first."""
    folder = PurePosixPath(tree.files[house.package]).parent
    yield f"## {folder}"
    yield ""
    yield first_sentence(tree, house.package)
    yield ""
    for room in reversed(house.rooms):
        name = f"{house.package}.{room}"
        if name in tree.files:
            yield _entry(tree, folder, name)
            if room not in house.generated:
                for inner in folders_inside(tree, name):
                    yield "  " * (inner.count(".") - 1) + _entry(tree, folder, inner)


def _entry(tree: Tree, folder: PurePosixPath, module: str) -> str:
    path = PurePosixPath(tree.files[module])
    if path.name == "__init__.py":
        path = path.parent
    link = path.relative_to(PAGE.parent) if path.is_relative_to(PAGE.parent) else PurePosixPath("..") / path
    slash = "" if path.suffix else "/"
    return f"- [{path.relative_to(folder)}{slash}]({link}): {first_sentence(tree, module)}"


def page(tree: Tree) -> str:
    """The whole page."""
    parts = [_HEAD, *("\n".join(page_of(house, tree)) + "\n" for house in (SERVER, ENGINE, SDK))]
    return "\n".join(parts)


if __name__ == "__main__":
    (ROOT / PAGE).write_text(page(read_tree(ROOT)), encoding="utf-8")
