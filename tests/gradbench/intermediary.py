"""The other side of the protocol, in miniature: an eval that asks a tool and checks its answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tests.gradbench.comparison import mismatches

LEAST_SECONDS = 0.01


class Question(NamedTuple):
    """One evaluation that an eval asks for, and the golden answer."""

    function: str
    description: str
    input: Any
    expected: Any


class Intermediary:
    """A conversation with a tool that reads from and writes to pipes."""

    def __init__(self, tool: subprocess.Popen[str]) -> None:
        self._tool = tool
        self._next_id = 0

    def send(self, kind: str, **content: Any) -> dict[str, Any]:
        """The answer to a message, which has the message's id."""
        assert self._tool.stdin is not None
        assert self._tool.stdout is not None
        number, self._next_id = self._next_id, self._next_id + 1
        self._tool.stdin.write(json.dumps({"id": number, "kind": kind, **content}) + "\n")
        self._tool.stdin.flush()
        line = self._tool.stdout.readline()
        assert line, f"the tool ended instead of answering {kind}"
        answer: dict[str, Any] = json.loads(line)
        assert answer.pop("id") == number
        return answer

    def play(self, module: str, questions: Sequence[Question], least_runs: int = 2) -> list[str]:
        """The whole of an eval: what was wrong, a line each."""
        assert self.send("start", eval=module) == {"tool": "gradwire"}
        defined = self.send("define", module=module)
        assert defined["success"], defined
        wrong: list[str] = []
        for question in questions:
            name = f"{module} {question.function} {question.description}"
            input = question.input
            has_runs = isinstance(input, dict)
            if has_runs:
                input = {**input, "min_runs": least_runs, "min_seconds": LEAST_SECONDS}
            asked = self._next_id
            answer = self.send(
                "evaluate", module=module, function=question.function, input=input, description=question.description
            )
            if not answer["success"]:
                wrong.append(f"{name}: {answer['error']}")
                continue
            found = [*wrong_timings(answer["timings"], least_runs if has_runs else 1, LEAST_SECONDS * has_runs)]
            found.extend(mismatches(question.expected, answer["output"]))
            error = {"error": "\n".join(found)} if found else {}
            assert self.send("analysis", of=asked, valid=not found, **error) == {}
            wrong.extend(f"{name}: {one}" for one in found)
        return wrong


def wrong_timings(timings: list[dict[str, Any]], least_runs: int, least_seconds: float) -> Iterator[str]:
    """What the protocol does not allow: each run has a timing, and there are enough of them."""
    runs = [one["nanoseconds"] for one in timings if one["name"] == "evaluate"]
    if len(runs) < least_runs or sum(runs) < least_seconds * 1e9:
        yield f"{len(runs)} runs in {sum(runs)} ns"
    if not all(isinstance(one, int) and one > 0 for one in runs):
        yield f"timings {runs}"


@contextmanager
def conversation(command: Sequence[str], **options: Any) -> Iterator[Intermediary]:
    """With a new tool, which ends when its input does."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options) as tool:
        yield Intermediary(tool)
        assert tool.stdin is not None
        tool.stdin.close()
        assert tool.wait(30) == 0
