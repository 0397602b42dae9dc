"""Counting how often a function runs in Python."""

from __future__ import annotations


class Counter:
    """Counts how often a function has run, without being part of what the function depends on."""

    def __init__(self) -> None:
        self.runs = 0
