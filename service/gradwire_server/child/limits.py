"""What this machine gives us, and what we let our processes have.

First half: processors and memory as the cgroup limits them, not as the host has them (version 2, version 1, or none).
Second half: for a child process to call on itself before it does anything else: outlive signals meant for the front,
end with the front, and get MemoryError instead of more memory than it was promised.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
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


def available_processors(root: Path = Path("/")) -> int:
    """How many processors this process may use: its affinity and its cgroup's quota, rounded up; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    for group in _cgroups("cpu", root):
        quota, period = _cpu_quota(group)
        if quota > 0 and period > 0:
            count = min(count, quota / period)
    return max(1, math.ceil(count))


def _cpu_quota(group: Path) -> tuple[float, float]:
    """Quota and period in microseconds; quota 0 where there is no limit."""
    words = _read(group / "cpu.max").split()
    if len(words) == 2:
        return _number(words[0]), _number(words[1])
    return _number(_read(group / "cpu.cfs_quota_us")), _number(_read(group / "cpu.cfs_period_us"))


def available_memory(root: Path = Path("/")) -> int:
    """How many bytes this process and its children may use together: the machine's, or less if a cgroup says so."""
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _cgroups("memory", root):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            value = _number(_read(group / name))
            if value > 0:
                limit = min(limit, int(value))
    return limit


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """The directories of the cgroups that this process is in and that limit `controller`, innermost first."""
    mounts = dict(_cgroup_mounts(controller, root))
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        kind = controllers if controllers == "" else controller
        if (controllers == "" or controller in controllers.split(",")) and kind in mounts:
            mounted, at = mounts[kind]
            inside = Path(path).relative_to(mounted) if Path(path).is_relative_to(mounted) else Path()
            yield from (at / inside, *(at / parent for parent in inside.parents))


def _cgroup_mounts(controller: str, root: Path) -> Iterator[tuple[str, tuple[Path, Path]]]:
    """Where hierarchies are mounted: "" (version 2) or the controller, the cgroup mounted there, and the directory."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), (*after.split(maxsplit=2), "", "", "")[:3]
        place = Path(fields[3]), root / fields[4].lstrip("/")
        if kind == "cgroup2":
            yield "", place
        elif kind == "cgroup" and controller in options.split(","):
            yield controller, place


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(text: str) -> float:
    """The number, or 0 for none, for "max", and for the unlimited values -1 and 2^63 of cgroup version 1."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 < value < 1 << 62 else 0.0


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open descriptors to the hard one; returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 1 << 20
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return soft
        return wanted
    return soft


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
    for line in _read(Path("/proc/self/status")).splitlines():
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
