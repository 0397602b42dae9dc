"""What this machine gives the server: processors and memory as its cgroup limits them, and open descriptors.

Cgroups of version 2 and of version 1 are read, each on the way from the process's own group up to the root; without
cgroups the host is what there is.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path


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
