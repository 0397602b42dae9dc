"""What a child process does to itself before anything else, and the environment that the front starts it in.

A child outlives signals that are meant for the front, ends with the front, and gets MemoryError instead of more memory
than it was promised.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import resource
import signal
import site
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

BLAS_THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a terminal or an orchestrator sends to the whole process group; the front drains, and the children work on."""

EXIT_OUT_OF_MEMORY = 64
"""Exit status of a child that could not go on within its memory limit."""

_PR_SET_PDEATHSIG = 1
_PROBE_BYTES = 64 << 20


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: one BLAS thread, no secrets or settings of ours, and our packages found.

    Everything named GRADWIRE_… or GRPC_… is left out: children need none of it, and it may hold a token.
    """
    source = os.environ if environment is None else environment
    child = {name: value for name, value in source.items() if not name.startswith(("GRADWIRE_", "GRPC_"))}
    child.update(dict.fromkeys(BLAS_THREAD_VARIABLES, "1"))
    paths = [*_package_roots(), *filter(None, child.get("PYTHONPATH", "").split(os.pathsep))]
    child["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return child


def _package_roots() -> Iterator[str]:
    """Where our packages are, unless every interpreter looks there anyway (and must, after its standard library)."""
    known = {os.path.realpath(path) for path in (*site.getsitepackages(), site.getusersitepackages())}
    for name in ("gradwire_server", "gradwire_engine", "gradwire"):
        found = importlib.util.find_spec(name)
        for path in (found.submodule_search_locations or ()) if found else ():
            root = os.path.dirname(os.path.realpath(path))
            if root not in known:
                yield root


def outlive_stop_signals() -> None:
    """Ignore SIGINT, SIGTERM and SIGHUP, and unblock what the parent blocked until we got here. Main thread only."""
    for one in STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends; end now if `parent` is gone already.

    Where the kernel cannot (it is not Linux), the end of the socket's stream does it, once the process reads it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def volunteer_for_oom() -> None:
    """If the kernel runs out of memory and must kill something, let it be this process and not the front."""
    try:
        Path("/proc/self/oom_score_adj").write_text("900")
    except OSError:
        return


def limit_memory(nbytes: int) -> bool:
    """Let this process allocate `nbytes` more than it has now, then get MemoryError; False if the system ignores that.

    RLIMIT_DATA counts private writable memory, so neither the arena nor mapped constants. Core dumps are switched off:
    they would hold other people's data. Where the system does not enforce the limit, `watch_memory` has to.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = private_bytes()
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (used + nbytes, used + nbytes))
        np.empty(nbytes + _PROBE_BYTES, np.uint8)  # address space alone: no page of it is ever touched
    except MemoryError:
        return True
    except (ValueError, OSError):
        return False
    return False


def return_free_memory() -> None:
    """Give freed memory back to the system, where the allocator (glibc's) can be told to."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def private_bytes() -> int:
    """Bytes of private writable memory, as RLIMIT_DATA counts them; elsewhere the largest resident size so far."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return _largest_resident_bytes()
    for line in status.splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) << 10
    return _largest_resident_bytes()


def _largest_resident_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def watch_memory(nbytes: int, interval: float = 0.05) -> threading.Thread:
    """End this process (EXIT_OUT_OF_MEMORY) once it holds `nbytes` more than now; looks every `interval` seconds."""
    limit = private_bytes() + nbytes
    forever = threading.Event()

    def watch() -> None:
        while not forever.wait(interval):
            if private_bytes() > limit:
                os._exit(EXIT_OUT_OF_MEMORY)

    thread = threading.Thread(target=watch, name="memory-watch", daemon=True)
    thread.start()
    return thread
