"""`gradwire serve` as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gradwire._version import __version__


class ServerProcess:
    """A server that runs, or ends at once because its options are wrong."""

    def __init__(self, *options: str, pass_fds: tuple[int, ...] = ()) -> None:
        command = [sys.executable, "-m", "gradwire_server", "--workers", "2", *options]
        small = ["--worker-memory", "256MiB", "--prepare-memory", "256MiB"]
        self.process = subprocess.Popen(
            [*command, *small], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds
        )

    def ready(self) -> dict[str, str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        name, version, ready, *addresses = line.split()
        assert (name, version, ready) == ("gradwire", __version__, "ready")
        return dict(one.split("=", 1) for one in addresses)

    def wait(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is left of it, also where a test fails."""
        self.process.kill()
        self.process.communicate()

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in listed.iterdir() for pid in (task / "children").read_text().split()]
