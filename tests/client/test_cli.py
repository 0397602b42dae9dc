"""The command line: what it prints, and that every mistake is one line and the right status."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.kit.client.local import LocalClient

import gradwire as gw
from gradwire import cli
from gradwire.connection.client import Limit, ServerInfo

FUNCTIONS = """
import numpy as np

def f(x, y):
    return np.sin(x) + x * y

def branches(x):
    return x if x > 0 else -x

def broken(x):
    return undefined_name

def total(w, scale=2.0):
    return np.sum(w) * scale

NUMBER = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "functions.py"
    path.write_text(FUNCTIONS)
    return str(path)


class Connected(LocalClient):
    """A client of the engine in this process, as `connect` gives one."""

    def __enter__(self) -> Connected:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def info(self) -> ServerInfo:
        limits = {"nodes": Limit("nodes", 5, "nodes", "--nodes")}
        return ServerInfo("1.2.3", 1, ("add",), ("reference",), limits, 2, 0, 0, 0.0, 1.0)


@pytest.fixture(autouse=True)
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    targets: list[Any] = []
    monkeypatch.setattr(gw, "connect", lambda target=None: (targets.append(target), Connected())[1], raising=False)
    return targets


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        status = cli.main(arguments)
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "--version") == (0, f"gradwire {gw.__version__}\n", "")


def test_explain_prints_the_table(capsys: pytest.CaptureFixture[str], file: str, connected: list[Any]) -> None:
    status, out, err = said(capsys, "explain", f"{file}:f", "--at", "x=1.5", "--at", "y=2")
    assert (status, err) == (0, "")
    assert "multiply(x, y)" in out
    assert "d/dx" in out
    assert re.search(r"functions\.py:\d+  return ", out)
    status, out, _ = said(
        capsys, "explain", f"{file}:f", "--at", "y=2", "--at", "x=1.5", "--mode", "reverse", "--target", "a:1"
    )
    assert status == 0
    assert "d out0" in out
    assert connected == [None, "a:1"]
    assert "[3., 4.]" in said(capsys, "explain", f"{file}:total", "--at", "w=[3,4]")[1]


def test_info_prints_what_the_service_is(capsys: pytest.CaptureFixture[str], connected: list[Any]) -> None:
    status, out, err = said(capsys, "info", "host:1")
    assert (status, err, connected) == (0, "", ["host:1"])
    assert out.startswith("gradwire 1.2.3")
    assert "--nodes" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["fly"], 2, "invalid choice: 'fly'"),
        (["explain"], 2, "required"),
        (["explain", "functions.py"], 2, "expected FILE.py:FUNCTION"),
        (["explain", "nowhere.py:f"], 2, "there is no file nowhere.py"),
        (["explain", "{file}:g", "--at", "x=1"], 2, "defines no function g; it has f, branches, broken, total"),
        (["explain", "{file}:NUMBER"], 2, "defines no function NUMBER"),
        (["explain", "{file}:f", "--at", "x=1"], 2, "--at y=VALUE is missing"),
        (["explain", "{file}:f", "--at", "x=1", "--at", "z=1"], 2, "no parameter z; it has x, y"),
        (["explain", "{file}:f", "--at", "x=1", "--at", "x=1"], 2, "given twice"),
        (["explain", "{file}:f", "--at", "x"], 2, "expected NAME=VALUE"),
        (["explain", "{file}:f", "--at", "x=one", "--at", "y=2"], 2, "neither a number nor a nested list"),
        (["explain", "{file}:f", "--at", "x=1", "--at", "y=2", "--mode", "up"], 2, "invalid choice: 'up'"),
        (["explain", "{file}:branches", "--at", "x=1"], 1, "np.where"),
        (["explain", "{file}:broken", "--at", "x=1"], 2, "NameError: name 'undefined_name'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], file: str, arguments: list[str], status: int, message: str
) -> None:
    got, out, err = said(capsys, *[one.format(file=file) for one in arguments])
    assert got == status
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert len(lines) == 1 or lines[0].startswith("usage:")


def test_a_file_that_cannot_be_run_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import nothing_of_this_name\n")
    status, _, err = said(capsys, "explain", f"{path}:f")
    assert status == 2
    assert "bad.py cannot be run: ModuleNotFoundError" in err


def test_a_service_that_cannot_be_reached_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    def refuse(target: Any = None) -> Any:
        raise gw.ServiceError("no service\nat all")

    monkeypatch.setattr(gw, "connect", refuse)
    assert said(capsys, "info") == (1, "", "gradwire: no service at all\n")


def test_serve_hands_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("gradwire_server.cli")
    given: list[Any] = []
    monkeypatch.setattr(server, "main", lambda arguments: (given.append(arguments), 7)[1])
    assert cli.main(["serve", "--listen", "unix:/x", "--workers", "3"]) == 7
    assert given == [["--listen", "unix:/x", "--workers", "3"]]


def test_serve_without_the_servers_packages_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['prometheus_client'] = None\nfrom gradwire import cli; sys.exit(cli.main(['serve']))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 1
    assert 'pip install "gradwire[service]" (missing: prometheus_client)' in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_help_of_serve_is_the_servers() -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "gradwire.cli", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--listen" in finished.stdout
