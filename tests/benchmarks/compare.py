"""Two checkouts, measured in turns in one run: every figure before and after, and their ratio.

    python tests/benchmarks/compare.py BEFORE AFTER [--sessions 4] [--rounds 5] [--only TEXT]

Both are folders with an environment in `.venv`. Each runs `cases.py`, this checkout's, with its own Python; only one of
them works at a time, and who begins changes from round to round. Both are started anew several times, since a process
may be lucky with its memory for as long as it lives. The ratio is the median of the ratios of all pairs, with its
quartiles: neighbours disturb both of a pair. A figure is marked where the median is worse by more than 3 % and even the
lower quartile is worse.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CASES = Path(__file__).with_name("cases.py")
LEAST_SECONDS = 0.3
WIRE_CALLS = 300
WORSE = 1.03

Pair = tuple[float, float]
"""A figure before and after."""


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


def measure(
    before: Checkout, after: Checkout, rounds: int, cases: Sequence[str], calls: dict[str, int]
) -> Iterator[tuple[str, Pair]]:
    """The figures of both, pair by pair. `calls` are kept from one session to the next."""
    for case in cases:
        if case not in calls:
            calls[case] = calls_for(before, case)
        pair = {checkout: checkout.figure(case, calls[case]) for checkout in (before, after)}  # warms up
        for round_ in range(rounds):
            for checkout in (before, after) if round_ % 2 else (after, before):
                pair[checkout] = checkout.figure(case, calls[case])
            yield case, (pair[before], pair[after])


def line(case: str, pairs: Sequence[Pair]) -> str:
    """A line of the table."""
    ratios = [after / before for before, after in pairs]
    low, ratio, high = statistics.quantiles(ratios, n=4)
    scale = 1.0 if case.startswith("wire") else 1e3
    shown = [f"{scale * statistics.median(figures):>12.3f}" for figures in zip(*pairs, strict=True)]
    mark = "  worse" if ratio > WORSE and low > 1.0 else ""
    return f"{case:<36}{''.join(shown)}{ratio:>9.3f}   {low:.3f} to {high:.3f}{mark}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--sessions", type=int, default=4, help="times that both are started")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of a case in each")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    calls: dict[str, int] = {}
    pairs: dict[str, list[Pair]] = {}
    for session in range(options.sessions):
        print(f"session {session + 1} of {options.sessions}", file=sys.stderr, flush=True)
        with running(options.before.resolve()) as before, running(options.after.resolve()) as after:
            cases = [case for case in before.hello["cases"] if options.only in case]
            for case, pair in measure(before, after, options.rounds, cases, calls):
                pairs.setdefault(case, []).append(pair)
    print(f"{'CPU ms a call; wire: times an echo':<36}{'before':>12}{'after':>12}{'ratio':>9}   quartiles")
    for case in pairs:
        print(line(case, pairs[case]))


if __name__ == "__main__":
    main()
