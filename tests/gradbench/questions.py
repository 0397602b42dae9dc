"""What the evals ask, of the tool in this process, and the golden answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from typing import Any

import pytest
from tests.gradbench import tool
from tests.gradbench.comparison import require_equal
from tests.gradbench.intermediary import Question
from tests.gradbench.references import ba, det, gmm, hello, ht, kmeans, llsq, lse, lstm, ode, particle, saddle

REFERENCES: dict[str, Any] = {
    "hello": hello, "gmm": gmm, "ba": ba, "lstm": lstm, "ht": ht, "kmeans": kmeans, "lse": lse, "ode": ode,
    "det": det, "llsq": llsq, "particle": particle, "saddle": saddle,
}  # fmt: skip


def questions_about(module: str, description: str, input: Any) -> list[Question]:
    """One for each function of the eval."""
    expected = REFERENCES[module].expected
    return [Question(name, description, input, expected(name, input)) for name in tool.functions_of(module)]


def input_of(module: str, description: str) -> Any:
    """One of the eval's own inputs."""
    inputs: Iterator[tuple[str, Any]] = REFERENCES[module].inputs()
    return next(input for name, input in inputs if name == description)


def small_questions(module: str) -> list[Question]:
    """The whole of an eval, but on small inputs."""
    if module == "hello":
        return [Question(*one, hello.expected(one[0], one[2])) for one in hello.inputs()]
    small: dict[str, list[tuple[str, Any]]] = {
        "gmm": [("3_4_50", gmm.made_up(3, 4, 50, gamma=1.5, m=2)), ("1_1_7", gmm.made_up(1, 1, 7))],
        "ba": [("small", ba.made_up(1, 2, 3, 31)), ("as small as the eval sees", ba.made_up(2, 3, 2, 16))],
        "lstm": [("l2_c20", lstm.made_up(2, 20, 5)), ("l1_c2", lstm.made_up(1, 2, 1))],
        "ht": [("simple", ht.made_up(1, by_triangle=False)), ("complicated", ht.made_up(2, by_triangle=True))],
        "kmeans": [("k=10,n=1000,d=8", input_of("kmeans", "k=10,n=1000,d=8"))],
        "lse": [("n=2500", input_of("lse", "n=2500"))],
        "ode": [(f"n={n},s={s}", ode.not_zero(n, s)) for n, s in ode.SIZES[:3]],
        "det": [("5", input_of("det", "5"))],
        "llsq": [("n=16,m=128", input_of("llsq", "n=16,m=128"))],
        "particle": [("w=0", particle.INPUT)],
        "saddle": [("w=0", saddle.INPUT)],
    }
    return [question for one in small[module] for question in questions_about(module, *one)]


def asked(module: str, function: str, input: Any) -> Any:
    """The tool's answer, as JSON brings it."""
    message = json.loads(json.dumps({"kind": "evaluate", "module": module, "function": function, "input": input}))
    answer = json.loads(json.dumps(tool.answer(message, lambda: 0)))
    assert answer["success"], answer["error"]
    return answer["output"]


def require_right(module: str, description: str, input: Any) -> None:
    """All functions of the eval give the golden answers."""
    for question in questions_about(module, description, input):
        require_equal(question.expected, asked(module, question.function, input))


def own_inputs(module: str, long: Set[str] = frozenset()) -> list[Any]:
    """The descriptions of all inputs that the eval asks for; some take long."""
    return [
        pytest.param(module, name, marks=[pytest.mark.long] if name in long else [], id=f"{module} {name}")
        for name, _ in REFERENCES[module].inputs()
    ]
