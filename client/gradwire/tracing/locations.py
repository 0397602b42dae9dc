"""Where the user's own code is, for error messages: the innermost frame that is neither ours nor numpy's."""

from __future__ import annotations

import linecache
import os
import sys
from functools import lru_cache
from types import FrameType
from typing import Final, NamedTuple

import numpy as np

import gradwire_engine

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES: Final = tuple(
    folder + os.sep
    for folder in (
        _PACKAGE,
        *[os.path.dirname(os.path.abspath(str(file))) for file in (np.__file__, gradwire_engine.__file__)],
    )
)
_NUMPY: Final = _LIBRARIES[1]
_EXAMPLES: Final = _LIBRARIES[0] + "demo" + os.sep


class Location(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    @property
    def text(self) -> str:
        """What stands there, if it can be read."""
        return linecache.getline(self.file, self.line).strip()

    @property
    def short(self) -> str:
        """As it is shown in a table: the file without its folder, and the line."""
        return f"{os.path.basename(self.file)}:{self.line}"

    def __str__(self) -> str:
        text = self.text
        return f"{self.file}:{self.line}: {text}" if text else f"{self.file}:{self.line}"


def user_location() -> Location | None:
    """The line of the user's code that is being executed; None if there is none below us."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if _is_user_code(file):
            return Location(file, frame.f_lineno)
        following = frame.f_back
        if following is None:
            return None
        frame = following
    return None


def calling_numpy_function() -> str:
    """The name of numpy's function, written in Python, that the user's line called; empty if it called none."""
    name = ""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_user_code(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_NUMPY):
            name = frame.f_code.co_qualname
        frame = frame.f_back
    return name


def deepest_location(error: BaseException) -> Location | None:
    """The line of the user's code from which an error came."""
    deepest = None
    entry = error.__traceback__
    while entry is not None:
        file = entry.tb_frame.f_code.co_filename
        if _is_user_code(file) and not _is_generated(entry.tb_frame):
            deepest = Location(file, entry.tb_lineno)
        entry = entry.tb_next
    return deepest


def _is_generated(frame: FrameType) -> bool:
    """Whether the code is what dataclasses and named tuples write for our own classes."""
    return str(frame.f_globals.get("__name__")).startswith(("gradwire", "namedtuple_"))


@lru_cache(maxsize=4096)
def _is_user_code(file: str) -> bool:
    if file.startswith("<frozen") or file.startswith("<__array_function__"):
        return False
    if f"{os.sep}scipy{os.sep}" in file:
        return False
    return not file.startswith(_LIBRARIES) or file.startswith(_EXAMPLES)


def at_user_line(message: str) -> str:
    """The message, followed by the user's line where there is one."""
    return at_line(message, user_location())


def at_line(message: str, location: Location | None) -> str:
    """The message, followed by a line of the user's code."""
    return f"{message}\n  at {location}" if location else message
