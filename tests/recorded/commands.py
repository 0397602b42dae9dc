"""What people type: the command's help, what it prints, and what it complains about. It runs in this process."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple
from unittest import mock

from tests.recorded.cases import Case

import gradwire as gw

_FUNCTIONS: Final = """
import numpy as np

def f(x, y):
    return np.sin(x) + x * y

def branches(x):
    return x if x > 0 else -x
"""


class Said(NamedTuple):
    """What a command did."""

    status: int | str
    out: str
    err: str


def said(*arguments: str, **settings: str) -> Said:
    """Run `gradwire` with these arguments."""
    (command,) = metadata.entry_points(group="console_scripts", name="gradwire")
    main = command.load()
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, settings),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            status = main(list(arguments))
        except SystemExit as ended:  # argparse
            status = int(ended.code or 0)
    return Said(status, out.getvalue(), err.getvalue())


def _all(*commands: tuple[str, ...]) -> Any:
    """What several commands say, without the breaks between lines of one paragraph, which Python chooses."""
    return lambda: [
        Said(*[re.sub(r"\n {10,}|(?<=\S) {2,}", "  ", str(one)) for one in said(*each)]) for each in commands
    ]


def _explained(client: gw.Client) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "point.py"
        file.write_text(_FUNCTIONS, encoding="utf-8")
        at, target = ("--at", "x=1.5", "--at", "y=2"), ("--target", client.target)
        return [
            said("explain", f"{file}:f", *at, *target),
            said("explain", f"{file}:f", *at, "--mode", "reverse", GRADWIRE_TARGET=client.target),
            said("explain", f"{file}:branches", "--at", "x=1", *target),
            said("explain", f"{file}:f", "--at", "x=1", *target),
            said("explain", f"{file}:g", *at, *target),
            said("explain", f"{file}:f", "--at", "x=one", *target),
        ]


CASES: Final = [
    Case("command: help", _all(("--help",), ("explain", "--help"), ("info", "--help"), ("demo", "--help"))),
    Case("command: help on serve", _all(("serve", "--help"))),
    Case("command: version", _all(("--version",))),
    Case(
        "command: wrong usage",
        _all(
            (),
            ("explain", "f"),
            ("explain", "nowhere.py:f"),
            ("serve", "--workers", "many"),
            ("serve", "--listen", "nowhere"),
            ("serve", "--tenant-share", "2"),
        ),
    ),
    Case("command: a wrong environment", lambda: said("serve", GRADWIRE_WORKER="3")),
    Case("command: info", lambda client: said("info", client.target), takes_client=True),
    Case("command: explain", _explained, takes_client=True),
]
