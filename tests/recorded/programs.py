"""What is recorded: a list of named cases, written against what is public alone.

`calls`, `functions`, `loops` and `mistakes` hold programs for the SDK, `commands` what is typed; `operations` and
`requests` hold requests as clients in other languages send them. A new case is added to the recording by
``python -m tests.recorded.record``; cases that are recorded stay as they are.
"""

from __future__ import annotations

from typing import Final

from tests.recorded import calls, commands, functions, loops, mistakes, operations, requests
from tests.recorded.cases import Case


def _by_name(*lists: list[Case]) -> dict[str, Case]:
    found: dict[str, Case] = {}
    for case in [case for cases in lists for case in cases]:
        if case.name in found:
            raise ValueError(f"there are two cases named {case.name!r}")
        found[case.name] = case
    return found


CASES: Final = _by_name(
    calls.CASES, functions.CASES, loops.CASES, mistakes.CASES, commands.CASES, operations.CASES, requests.CASES
)
"""Every case, by its name."""
