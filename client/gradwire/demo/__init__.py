"""`gradwire demo`: a private service, the worked examples and a real job against it.

Every number that is shown is checked against a route that does not use the service (formulas by hand, numpy, central
differences). The exit status is 0 only if all of them were right.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import gradwire as gw
from gradwire.demo import many_points, newton, worked_examples
from gradwire.demo.report import Report


def main(argv: Sequence[str] = ()) -> int:
    """Run the demo; 0 if every number was right, else 1. With `--target`, against a running service."""
    parser = argparse.ArgumentParser(prog="gradwire demo", description="Worked examples and a real job, checked.")
    parser.add_argument("--target", help="a running service; without it a private one is started")
    options = parser.parse_args(argv)
    report = Report(sys.stdout)
    with gw.connect(options.target) as client:
        info = client.info()
        where = options.target or "a private service"
        report.say(f"Gradwire {info.version}, {where}, {info.workers} workers.")
        worked_examples.run(report)
        newton.run(report)
        many_points.run(report)
    return report.finish()
