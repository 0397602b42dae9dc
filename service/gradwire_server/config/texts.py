"""Values of options as people write them: sizes, times, numbers and addresses, read and shown.

What cannot be read is a ValueError that says what was expected; whoever knows the option's name puts it before.
"""

from __future__ import annotations

import math
import re
from typing import Final

MIB: Final = 1 << 20
GIB: Final = 1 << 30

_LEVELS: Final = ("debug", "info", "warning", "error")


def read_size(text: str) -> int:
    """Bytes: "1048576", "64MiB", "2G" (of 1,024)."""
    size = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])i?)?B?\s*", text, re.IGNORECASE)
    if not size:
        raise ValueError("expected a size such as 64MiB or 1048576")
    factor = 1 << 10 * (" KMGT".index(size[2].upper()) if size[2] else 0)
    return int(float(size[1]) * factor)


def read_seconds(text: str) -> float:
    """Seconds: "1.5", "30s", "500ms", "2m", "1h"."""
    time = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*(ms|s|m|h|)\s*", text)
    if not time:
        raise ValueError("expected a time such as 30s, 500ms or 2m")
    return float(time[1]) * {"ms": 0.001, "": 1, "s": 1, "m": 60, "h": 3600}[time[2]]


def read_count(text: str) -> int:
    """A whole number, perhaps with thousands separators."""
    if not re.fullmatch(r"\s*[0-9][0-9_,]*\s*", text):
        raise ValueError("expected a whole number")
    return int(text.replace(",", "").replace("_", ""))


def read_number(text: str) -> float:
    """A finite number."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def read_level(text: str) -> str:
    """A level of the log."""
    if text.lower() not in _LEVELS:
        raise ValueError(f"expected one of {', '.join(_LEVELS)}")
    return text.lower()


def read_host_and_port(text: str) -> tuple[str, int]:
    """The parts of HOST:PORT or [IPV6]:PORT; without a host, that of all interfaces."""
    parts = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^\[\]:]*)):([0-9]{1,5})", text)
    if not parts or int(parts[3]) > 0xFFFF:
        raise ValueError("expected HOST:PORT")
    return parts[1] or parts[2] or "0.0.0.0", int(parts[3])


def check_address(text: str) -> None:
    """Whether gRPC can be served there: HOST:PORT or unix:PATH."""
    try:
        if not text.startswith("unix:"):
            read_host_and_port(text)
    except ValueError:
        raise ValueError("expected HOST:PORT or unix:PATH") from None


def check_http_address(text: str) -> None:
    """Whether HTTP can be served there: HOST:PORT, or empty for nowhere."""
    if text:
        read_host_and_port(text)


def shown(value: float | str, unit: str) -> str:
    """A value as people write it."""
    if unit == "bytes" and isinstance(value, int) and value % MIB == 0:
        return f"{value // MIB}MiB"
    number = value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,g}"
    return f"{number} {unit}" if unit else number or "none"


def shown_bytes(nbytes: int) -> str:
    """Bytes to whole MiB, for sums that nobody wrote."""
    return f"{nbytes / MIB:,.0f} MiB"
