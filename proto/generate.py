"""Generates `client/gradwire/v1` from `proto/gradwire/v1`.

    python proto/generate.py           writes the stubs
    python proto/generate.py --check   changes nothing; exits with 1 if the committed stubs are stale

The compiler is pinned, and older than the newest on purpose: generated code refuses runtimes older than itself, and
what this one writes loads on protobuf 5.29 to 7 and grpcio 1.71.2 and later, as `pyproject.toml` promises. It is
installed into a temporary virtual environment, since its own requirements exclude newer runtimes. It has wheels for
Python 3.11 to 3.13; the output does not depend on which of them runs it.

Before a change of a .proto file is merged, two more checks; the second compares with what is already on `main`, and
says whether the change would break clients that exist:

    buf lint proto
    buf breaking proto --against '.git#branch=main,subdir=proto'
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TOOLS = ("grpcio-tools==1.71.2", "mypy-protobuf==3.6.0", "protobuf==5.29.6")
SUPPORTED_PYTHON = ((3, 11), (3, 13))

PROTO = Path(__file__).resolve().parent
STUBS = PROTO.parent / "client" / "gradwire" / "v1"
PACKAGE = "gradwire/v1"
SERVICE = f"{PACKAGE}/service.proto"


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Generate client/gradwire/v1 from proto/gradwire/v1.")
    parser.add_argument("--check", action="store_true", help="only say whether the committed stubs are up to date")
    check = parser.parse_args().check

    oldest, newest = SUPPORTED_PYTHON
    if not oldest <= sys.version_info[:2] <= newest:
        print(
            f"generate.py: got Python {sys.version_info[0]}.{sys.version_info[1]}, expected {oldest[0]}.{oldest[1]} to "
            f"{newest[0]}.{newest[1]}, for which the pinned compiler has wheels: run it with one of those",
            file=sys.stderr,
        )
        return 2

    with tempfile.TemporaryDirectory(prefix="gradwire-proto-") as scratch:
        generated = generate(Path(scratch))
    committed = {path.name: path.read_bytes() for path in STUBS.glob("*_pb2*.py*")}
    stale = sorted(name for name in generated | committed if generated.get(name) != committed.get(name))

    if check:
        if stale:
            print(f"stale in client/gradwire/v1: {', '.join(stale)}; run python proto/generate.py", file=sys.stderr)
            return 1
        print(f"client/gradwire/v1 is up to date: {len(committed)} files")
        return 0

    STUBS.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if name in generated:
            (STUBS / name).write_bytes(generated[name])
        else:
            (STUBS / name).unlink()
    print(f"client/gradwire/v1: {', '.join(stale) or 'nothing'} changed")
    return 0


def generate(scratch: Path) -> dict[str, bytes]:
    """The files that belong into `client/gradwire/v1`, by name."""
    tools = scratch / "tools"
    venv.create(tools, with_pip=True)
    python, mypy_plugin, mypy_grpc_plugin = (
        tools / "bin" / name for name in ("python", "protoc-gen-mypy", "protoc-gen-mypy_grpc")
    )
    subprocess.run([python, "-m", "pip", "install", "--quiet", *TOOLS], check=True)

    output = scratch / "output"
    output.mkdir()
    protoc = [python, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
    sources = sorted(path.relative_to(PROTO).as_posix() for path in (PROTO / PACKAGE).glob("*.proto"))
    messages = [f"--plugin=protoc-gen-mypy={mypy_plugin}", f"--python_out={output}", f"--mypy_out=quiet:{output}"]
    service = [
        f"--plugin=protoc-gen-mypy_grpc={mypy_grpc_plugin}",
        f"--grpc_python_out={output}",
        f"--mypy_grpc_out=quiet:{output}",
    ]
    subprocess.run([*protoc, *messages, *sources], check=True)
    subprocess.run([*protoc, *service, SERVICE], check=True)
    return {path.name: path.read_bytes() for path in (output / PACKAGE).iterdir()}


if __name__ == "__main__":
    sys.exit(main())
