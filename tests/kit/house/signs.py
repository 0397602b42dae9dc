"""The house in numbers: rooms, arrows between them, arrows up, circles, long files, lines of control flow.

    python -m tests.kit.house.signs [ROOT]

prints them for this checkout, or for another one, with the arrows up and the circles by name.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tests.kit.house.rooms import HOUSES, MOST_LINES, House
from tests.kit.house.source_tree import ROOT, Tree, read_tree, within

CONTROL_FLOW = (
    "gradwire_engine.ops.control",
    "gradwire_engine.passes.loops",
    *(f"gradwire_engine.execute.numpy.{name}" for name in ("body", "cond", "replay", "rows", "scan", "while_loop")),
)
"""Where the rules, passes and evaluations of branches and loops are."""

_NO_CODE = {
    tokenize.COMMENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.INDENT, tokenize.NEWLINE, tokenize.NL,
}  # fmt: skip


def long_files(tree: Tree) -> dict[str, int]:
    """The modules that people write and that are longer than MOST_LINES, with their lines."""
    lengths = {
        module: len(tree.texts[module].splitlines()) for house in HOUSES for module in house.written_modules(tree)
    }
    return {module: length for module, length in lengths.items() if length > MOST_LINES}


def code_lines(text: str) -> int:
    """The lines of a module that are code: no blank line, no comment, no docstring."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - docstrings)


def control_flow_lines(tree: Tree) -> tuple[int, int]:
    """The lines of control flow, and those of them that are code."""
    texts = [text for module, text in tree.texts.items() if within(module, *CONTROL_FLOW)]
    return sum(len(text.splitlines()) for text in texts), sum(code_lines(text) for text in texts)


def of_house(house: House, tree: Tree) -> Iterator[str]:
    """What there is to say of one package."""
    arrows = house.arrows(tree)
    rooms = {house.room(module) for module in tree.files if within(module, house.package)}
    up = sorted(pair for pair in arrows if house.is_up(*pair))
    groups = house.circles(tree)
    at_most = "" if house.most_arrows is None else f" (at most {house.most_arrows})"
    yield f"{house.package}: {len(rooms)} rooms, {len(arrows)} arrows{at_most}, {len(up)} up, {len(groups)} circles"
    for importer, imported in up:
        yield f"  up: {importer} -> {imported}, {arrows[importer, imported][0].place}"
    for group in groups:
        yield f"  circle of {len(group)}: {', '.join(group)}"


def signs(root: Path) -> Iterator[str]:
    """All of it, line by line."""
    tree = read_tree(root)
    for house in HOUSES:
        yield from of_house(house, tree)
    yield f"files over {MOST_LINES} lines:"
    for module, length in sorted(long_files(tree).items()):
        yield f"  {module}: {length}"
    yield "control flow: {} lines, {} of them code".format(*control_flow_lines(tree))


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in signs(Path(sys.argv[1]) if sys.argv[1:] else ROOT))
