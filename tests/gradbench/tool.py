"""A GradBench tool whose answers come from a Gradwire service, over gRPC.

    python tests/gradbench/tool.py [--target HOST:PORT]

GradBench starts a tool and an eval, and passes messages between them: JSON objects, one a line, on standard input and
output. `start` is answered with the tool's name, `define` with whether the module is known, `evaluate` with the output
and with how long each run took; every other kind with the message's id alone. Without a target, a private service is
started. What is timed is the whole way of a call: tracing (once), requests, computing, responses; only reading and
writing JSON is left out.

https://github.com/gradbench/gradbench, CONTRIBUTING.md, "Protocol".
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TextIO

import gradwire as gw

EVALS: Final = (
    "hello", "gmm", "ba", "lstm", "ht", "kmeans", "lse", "ode", "det", "llsq", "particle", "saddle",
)  # fmt: skip

Message = dict[str, Any]


def serve(requests: TextIO, responses: TextIO, clock: Callable[[], int] = time.perf_counter_ns) -> None:
    """Answer messages until there are no more. `clock` counts nanoseconds."""
    for line in requests:
        message = json.loads(line)
        responses.write(json.dumps({"id": message["id"], **answer(message, clock)}) + "\n")
        responses.flush()


def answer(message: Message, clock: Callable[[], int]) -> Message:
    """The answer to a message, without its id. What fails fails with this message alone."""
    kind = message["kind"]
    if kind == "start":
        return {"tool": "gradwire"}
    if kind not in ("define", "evaluate"):
        return {}
    try:
        return define(message, clock) if kind == "define" else evaluate(message, clock)
    except (gw.GradwireError, LookupError, TypeError, ValueError) as error:
        return {"success": False, "error": f"{type(error).__name__}: {error}"}


def define(message: Message, clock: Callable[[], int]) -> Message:
    """Load the eval's module."""
    start = clock()
    functions_of(message["module"])
    return {"success": True, "timings": [{"name": "define", "nanoseconds": clock() - start}]}


def evaluate(message: Message, clock: Callable[[], int]) -> Message:
    """Run a function, at least `min_runs` times and for `min_seconds` altogether."""
    functions = functions_of(message["module"])
    name = message["function"]
    if name not in functions:
        raise LookupError(f"{message['module']} has no function {name!r}; it has {', '.join(functions)}")
    task = functions[name](message["input"])
    limits = message["input"] if isinstance(message["input"], dict) else {}
    least_runs, least_seconds = limits.get("min_runs", 1), limits.get("min_seconds", 0)
    taken: list[int] = []
    while len(taken) < max(least_runs, 1) or sum(taken) < least_seconds * 1e9:
        start = clock()
        result = task.run()
        taken.append(clock() - start)
    timings = [{"name": "evaluate", "nanoseconds": one} for one in taken]
    return {"success": True, "output": task.answer(result), "timings": timings}


def functions_of(module: str) -> Any:
    """An eval's functions."""
    if module not in EVALS:
        raise LookupError(f"no module {module!r}; there are {', '.join(EVALS)}")
    return import_module(f"tests.gradbench.evals.{module}").FUNCTIONS


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve standard input."""
    parser = argparse.ArgumentParser(description="A GradBench tool that asks a Gradwire service.")
    parser.add_argument("--target", help="a running service; without it a private one is started")
    options = parser.parse_args(arguments)
    with gw.connect(options.target):
        serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
