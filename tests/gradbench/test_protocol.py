"""The tool speaks GradBench's protocol: by itself with a clock of our own, and as a process between pipes."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.gradbench import tool
from tests.gradbench.intermediary import Intermediary, Question, conversation
from tests.gradbench.questions import small_questions

import gradwire as gw

pytestmark = pytest.mark.usefixtures("service")

TOOL = Path(tool.__file__)

SEARCHES = ("particle", "saddle")
"""Evals whose functions make a hundred calls and more."""


def said(*messages: dict[str, Any], nanoseconds: int = 1) -> list[dict[str, Any]]:
    """The tool's answers, where each look at the clock takes so long."""
    requests = io.StringIO("".join(json.dumps({"id": i, **one}) + "\n" for i, one in enumerate(messages)))
    responses, ticks = io.StringIO(), count(0, nanoseconds)
    tool.serve(requests, responses, lambda: next(ticks))
    return [json.loads(line) for line in responses.getvalue().splitlines()]


def evaluation(**content: Any) -> dict[str, Any]:
    return {"kind": "evaluate", "module": "lse", "function": "primal", "input": {"x": [0.0]}, **content}


def test_each_message_is_answered_with_its_id() -> None:
    answers = said(
        {"kind": "start", "eval": "hello", "config": {"any": 1}},
        {"kind": "define", "module": "hello"},
        {"kind": "evaluate", "module": "hello", "function": "square", "input": 3.0, "description": "1"},
        {"kind": "analysis", "of": 2, "valid": False, "error": "so they say"},
        {"kind": "a kind of the future"},
    )
    assert answers == [
        {"id": 0, "tool": "gradwire"},
        {"id": 1, "success": True, "timings": [{"name": "define", "nanoseconds": 1}]},
        {"id": 2, "success": True, "output": 9.0, "timings": [{"name": "evaluate", "nanoseconds": 1}]},
        {"id": 3},
        {"id": 4},
    ]


@pytest.mark.parametrize(
    ("limits", "runs"),
    [
        ({}, 1),
        ({"min_runs": 0}, 1),
        ({"min_runs": 3}, 3),
        ({"min_runs": 3, "min_seconds": 0.5}, 5),
        ({"min_runs": 7, "min_seconds": 0.5}, 7),
        ({"min_runs": 1, "min_seconds": 0.45}, 5),
    ],
)
def test_there_are_enough_runs_each_with_its_time(limits: dict[str, float], runs: int) -> None:
    (answer,) = said(evaluation(input={"x": [0.0], **limits}), nanoseconds=100_000_000)
    assert answer["timings"] == [{"name": "evaluate", "nanoseconds": 100_000_000}] * runs


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"kind": "define", "module": "os"}, "no module 'os'; there are hello, gmm"),
        (evaluation(module="os"), "no module 'os'"),
        (evaluation(function="hessian"), "lse has no function 'hessian'; it has primal, gradient"),
        (evaluation(input={}), "KeyError: 'x'"),
        (evaluation(input={"x": "no numbers"}), "ValueError"),
        (evaluation(input={"x": [[0.0], [1.0, 2.0]]}), "ValueError"),
        (evaluation(function="gradient", input={"x": []}), "ShapeError"),
    ],
)
def test_what_fails_fails_alone_and_says_why(message: dict[str, Any], words: str) -> None:
    failed, fine = said(message, evaluation())
    assert failed["success"] is False
    assert words in failed["error"]
    assert fine["output"] == 0.0


def test_every_eval_has_a_module() -> None:
    folder = TOOL.parent / "evals"
    assert {path.stem for path in folder.glob("*.py")} - {"descent"} == set(tool.EVALS)


@pytest.fixture(scope="module")
def intermediary(service: gw.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Intermediary]:
    """Talks to a tool that was started elsewhere than in the checkout."""
    command = [sys.executable, str(TOOL), "--target", service.target]
    with conversation(command, cwd=tmp_path_factory.mktemp("elsewhere")) as talk:
        yield talk


@pytest.mark.parametrize("module", [module for module in tool.EVALS if module not in SEARCHES])
def test_a_process_answers_the_eval(module: str, intermediary: Intermediary) -> None:
    questions = small_questions(module)
    assert {question.function for question in questions} == set(tool.functions_of(module))
    assert intermediary.play(module, questions) == []


@pytest.mark.parametrize("function", ["ff", "fr", "rf", "rr"])
@pytest.mark.parametrize("module", SEARCHES)
def test_a_process_answers_the_search(module: str, function: str, intermediary: Intermediary) -> None:
    questions = [question for question in small_questions(module) if question.function == function]
    assert len(questions) == 1
    assert intermediary.play(module, questions, least_runs=1) == []


def test_the_intermediary_sees_wrong_answers(intermediary: Intermediary) -> None:
    first, second = small_questions("hello")[:2]
    wrong = [first._replace(expected=1.0 + 1e-7), second, Question("cube", "none", 1.0, 1.0)]
    assert intermediary.play("hello", wrong) == [
        "hello square turn 0: output: 1.0000001 expected, got 1.0",
        "hello cube none: LookupError: hello has no function 'cube'; it has square, double",
    ]


def test_without_a_target_the_tool_starts_a_service() -> None:
    with conversation([sys.executable, str(TOOL)]) as talk:
        assert talk.play("hello", small_questions("hello")) == []


def test_a_target_that_is_not_there_is_said_in_the_answer() -> None:
    with conversation([sys.executable, str(TOOL), "--target", "unix:/nowhere/at/all"]) as talk:
        talk.send("start", eval="hello")
        answer = talk.send("evaluate", module="hello", function="square", input=1.0)
    assert answer["success"] is False
    assert "UnavailableError" in answer["error"]
