"""The command `gradwire`: serve, demo, explain, info.

Exit status: 0 done, 1 the work failed, 2 wrong usage. Every mistake that can be foreseen is one line on stderr. The
service's own options belong to the service: `serve` hands its arguments on, and loads nothing of it for other commands.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradwire._version import __version__

DONE, FAILED, USAGE = 0, 1, 2

_NEEDS_SERVICE = 'the server is not installed; pip install "gradwire[service]"'


class UsageError(Exception):
    """The command line asks for something that does not exist."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        return _serve(arguments[1:])
    if arguments[:1] == ["demo"]:
        return _reported(lambda: _demo(arguments[1:]))
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    return _reported(lambda: run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gradwire", description="Gradients over the wire.")
    parser.add_argument("--version", action="version", version=f"gradwire {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the service; gradwire serve --help lists its options", add_help=False)
    commands.add_parser("demo", help="a private service, the worked examples and a real job", add_help=False)

    explain = commands.add_parser("explain", help="every intermediate value with its tangent or adjoint")
    explain.add_argument("function", metavar="FILE.py:FUNCTION", help="a function of plain numpy")
    explain.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument: a number or a nested list, for example x=2 or w=[1,2.5]; once for each",
    )
    explain.add_argument("--mode", choices=("forward", "reverse"), default="forward", help="default: forward")
    explain.add_argument("--target", help="a running service; default: $GRADWIRE_TARGET, else a private one")
    explain.set_defaults(run=_explain)

    info = commands.add_parser("info", help="version, limits, operations and load of a running service")
    info.add_argument("target", nargs="?", help="default: $GRADWIRE_TARGET, else a private service")
    info.set_defaults(run=_info)
    return parser


def _reported(run: Callable[[], int]) -> int:
    """The command's status; what it refuses as one line."""
    from gradwire.errors import GradwireError

    try:
        return run()
    except UsageError as error:
        return _complain(str(error), USAGE)
    except GradwireError as error:
        return _complain(" ".join(str(error).split()), FAILED)
    except BrokenPipeError:
        return FAILED
    except KeyboardInterrupt:
        return _complain("interrupted", FAILED)


def _complain(text: str, status: int) -> int:
    print(f"gradwire: {text}", file=sys.stderr)
    return status


def _serve(arguments: Sequence[str]) -> int:
    try:
        from gradwire_server.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gradwire"):
            raise
        return _complain(f"{_NEEDS_SERVICE} (missing: {error.name})", FAILED)
    return main(list(arguments))


def _demo(arguments: Sequence[str]) -> int:
    from gradwire import demo

    return demo.main(arguments)


def _explain(options: argparse.Namespace) -> int:
    import gradwire as gw

    function = load_function(options.function)
    points = dict(parse_point(text) for text in options.at)
    if len(points) < len(options.at):
        raise UsageError(f"an argument is given twice in {' '.join(options.at)}")
    arguments = in_order(function, points)
    with gw.connect(options.target):
        try:
            table = gw.explain(function, *arguments, mode=options.mode)
        except gw.GradwireError:
            raise
        except Exception as error:  # whatever the user's function does
            raise UsageError(f"{options.function} cannot be traced: {type(error).__name__}: {error}") from error
        print(table)
    return DONE


def load_function(place: str) -> Callable[..., Any]:
    """The function at ``FILE.py:FUNCTION``; the file is run. UsageError where there is none."""
    path, colon, name = place.rpartition(":")
    if not colon or not path or not name:
        raise UsageError(f"got {place!r}, expected FILE.py:FUNCTION")
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        defined = ", ".join(n for n, value in vars(module).items() if callable(value) and not n.startswith("_"))
        raise UsageError(f"{path} defines no function {name}; it has {defined or 'none'}")
    found: Callable[..., Any] = function
    return found


def parse_point(text: str) -> tuple[str, Any]:
    """``x=2`` as a name and a float64 scalar or array."""
    import json

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"got --at {text}, expected NAME=VALUE, for example x=2")
    try:
        parsed = np.asarray(json.loads(value), dtype=np.float64)
    except (ValueError, TypeError):
        raise UsageError(f"got --at {text}: {value!r} is neither a number nor a nested list of numbers") from None
    return name, parsed[()]


def in_order(function: Callable[..., Any], points: dict[str, Any]) -> list[Any]:
    """The points in the order of the function's parameters; UsageError where one is missing or not known."""
    import inspect

    parameters = list(inspect.signature(function).parameters.values())
    names = [parameter.name for parameter in parameters]
    unknown = [name for name in points if name not in names]
    missing = [p.name for p in parameters if p.name not in points and p.default is inspect.Parameter.empty]
    if unknown:
        raise UsageError(f"{function.__name__} has no parameter {unknown[0]}; it has {', '.join(names) or 'none'}")
    if missing:
        raise UsageError(f"--at {missing[0]}=VALUE is missing: {function.__name__} takes {', '.join(names)}")
    given = [name for name in names if name in points]
    if given != names[: len(given)]:
        raise UsageError(f"give --at for the parameters before {given[-1]} too: {', '.join(names)}")
    return [points[name] for name in given]


def _info(options: argparse.Namespace) -> int:
    import gradwire as gw

    with gw.connect(options.target) as client:
        print(client.info())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
