"""Two checkouts, measured in turns in one run: every figure before and after, and their ratio.

    python tests/benchmarks/compare.py BEFORE AFTER [--rounds 15] [--only TEXT]

Both are folders with an environment in `.venv`. Each runs `cases.py`, this checkout's, with its own Python; only one of
them works at a time, and who begins changes from round to round. The ratio is the median of the ratios of the pairs,
with its quartiles: neighbours disturb both of a pair, and a figure counts as worse where even the lower quartile is.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CASES = Path(__file__).with_name("cases.py")
LEAST_SECONDS = 0.3
WIRE_CALLS = 300
WORSE = 1.03


class Checkout:
    """A process that runs the cases of one checkout."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.hello = self._answer()

    def figure(self, case: str, calls: int) -> float:
        """One measurement."""
        self._write(json.dumps({"case": case, "calls": calls}))
        return float(self._answer()["figure"])

    def end(self) -> None:
        """Let the process end."""
        self._write("")

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args}: ended")
        return json.loads(line)


@contextmanager
def running(folder: Path) -> Iterator[Checkout]:
    """The cases of a checkout, which must be what its environment has installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRADWIRE"))}
    command = [str(folder / ".venv/bin/python"), str(CASES)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder, env=environment
    ) as process:
        checkout = Checkout(process)
        if folder not in Path(checkout.hello["gradwire"]).resolve().parents:
            raise SystemExit(f"{command[0]} has the package of {checkout.hello['gradwire']}")
        yield checkout
        checkout.end()


def calls_for(checkout: Checkout, case: str) -> int:
    """As many calls as take long enough to be measured, but at least one."""
    if case.startswith("wire"):
        return WIRE_CALLS
    checkout.figure(case, 1)  # the first call traces, prepares and warms up
    calls = 1
    while (spent := checkout.figure(case, calls) * calls) < LEAST_SECONDS and calls < 10_000:
        calls = max(calls + 1, int(calls * min(LEAST_SECONDS / max(spent, 1e-6), 10)))
    return calls


def compare(case: str, before: Checkout, after: Checkout, rounds: int) -> str:
    """A line of the table."""
    calls = calls_for(before, case)
    after.figure(case, 1)
    figures: dict[Checkout, list[float]] = {before: [], after: []}
    for round_ in range(rounds):
        for checkout in (before, after) if round_ % 2 else (after, before):
            figures[checkout].append(checkout.figure(case, calls))
    ratios = [b / a for a, b in zip(figures[before], figures[after], strict=True)]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    scale = 1.0 if case.startswith("wire") else 1e3
    shown = [f"{scale * statistics.median(figures[checkout]):>12.3f}" for checkout in (before, after)]
    mark = "  worse" if ratio > WORSE and low > 1.0 else ""
    return f"{case:<36}{''.join(shown)}{ratio:>9.3f}   {low:.3f} to {high:.3f}{mark}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    with running(options.before.resolve()) as before, running(options.after.resolve()) as after:
        print(
            f"{'CPU ms a call; wire: times an echo':<36}{'before':>12}{'after':>12}{'ratio':>9}   quartiles", flush=True
        )
        for case in before.hello["cases"]:
            if options.only in case:
                print(compare(case, before, after, options.rounds), flush=True)


if __name__ == "__main__":
    sys.exit(main())
