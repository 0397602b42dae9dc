"""A service of one's own: a child process on a Unix socket in a folder that only its user may enter.

It is the same service as anywhere, started as ``gradwire serve``. It ends when the pipe closes that it inherits, that
is with this process, however that ends; a forked child closes its copy of the pipe and leaves the rest alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from gradwire.connection.channel import FORK_VARIABLE
from gradwire.errors import ServiceError

_READY: Final = re.compile(rb"^gradwire \S+ ready grpc=(\S+) http=\S+$", re.MULTILINE)
_START_SECONDS: Final = 30.0
_END_SECONDS: Final = 10.0
_NEEDED: Final = ("scipy", "prometheus_client", "grpc_health", "grpc_reflection", "google.rpc")


class PrivateService:
    """A running private service."""

    def __init__(self, process: subprocess.Popen[bytes], target: str, pipe: int, folder: Path) -> None:
        self._process = process
        self._pipe = pipe
        self._folder = folder
        self._owner = os.getpid()
        self.target = target

    @staticmethod
    def start() -> PrivateService:
        """Start one and wait until it is ready; ServiceError where that fails."""
        _require_service_extra()
        folder = Path(tempfile.mkdtemp(prefix="gradwire-"))  # mode 0700
        read, write = os.pipe()
        try:
            with (folder / "log").open("wb") as log:
                process = subprocess.Popen(
                    [
                        sys.executable, "-m", "gradwire.cli", "serve",
                        "--listen", f"unix:{folder / 's'}", "--http-listen", "", "--parent-fd", str(read),
                    ],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, pass_fds=(read,),
                    start_new_session=True, env=_environment(),
                )  # fmt: skip
        except OSError as error:
            os.close(write)
            shutil.rmtree(folder, ignore_errors=True)
            raise ServiceError(f"the private service cannot be started: {error}", reason="PRIVATE_SERVICE") from None
        finally:
            os.close(read)
        try:
            target = _ready_target(process)
        except BaseException as failure:
            os.close(write)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            last_line = _last_line(folder / "log")
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(failure, ServiceError):
                raise ServiceError(
                    f"{failure}{': ' + last_line if last_line else ''}", reason="PRIVATE_SERVICE"
                ) from None
            raise
        return PrivateService(process, target, write, folder)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; in a forked child, as far as that is known."""
        return os.getpid() != self._owner or self._process.poll() is None

    def close(self) -> None:
        """End it, and wait until it has ended."""
        if os.getpid() != self._owner:
            return
        self._close_pipe()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def after_fork_in_child(self) -> None:
        """Let go of the pipe: the service is the parent's, and ends with it."""
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            pipe, self._pipe = self._pipe, -1
            os.close(pipe)


def _environment() -> dict[str, str]:
    """This process's environment, without what the SDK itself has set in it for gRPC: a server does not fork."""
    return {name: value for name, value in os.environ.items() if name != FORK_VARIABLE}


def _require_service_extra() -> None:
    missing = [name for name in _NEEDED if not _is_installed(name)]
    if missing or not _is_installed("gradwire_server"):
        raise ServiceError(
            "no target was given, and a private service cannot be started: the server's packages are not installed "
            f'({", ".join(missing) or "gradwire_server"}). Install them with pip install "gradwire[service]", or name '
            "a running service with gw.connect(target) or GRADWIRE_TARGET",
            reason="SERVICE_NOT_INSTALLED",
        )


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _ready_target(process: subprocess.Popen[bytes]) -> str:
    """The address in the line that the service writes when it is ready."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    deadline = time.monotonic() + _START_SECONDS
    output = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ServiceError(f"the private service was not ready within {_START_SECONDS:g} s")
        if not select.select([descriptor], [], [], left)[0]:
            continue
        part = os.read(descriptor, 4096)
        if not part:
            raise ServiceError(f"the private service ended with status {process.wait()} before it was ready")
        output += part
        ready = _READY.search(output)
        if ready is not None:
            return ready[1].decode()


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:500] if lines else ""
