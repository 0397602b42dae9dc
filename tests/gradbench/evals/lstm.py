"""lstm: how well a stack of LSTM layers with diagonal weights predicts a sequence, and the gradient by its parameters.

What each step needs of the step before runs in a scan; the rest, from the last layer's output to the loss, is computed
for all steps at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.task import Functions, Input, Task

import gradwire as gw


def loss(main: Any, extra: Any, state: Any, sequence: Any) -> Any:
    """−Σ_t gold · (y − log(2 + Σ exp y)), over the number of predictions.

    `main`: for each layer a row of weights and one of biases, each for (forget, in, out, change). `extra`: weights of
    the input and of the output, biases of the output. `state`: for each layer what is hidden, and the cell.
    """
    layers = main.shape[0] // 2
    gates = [[np.split(row, 4) for row in main[2 * i : 2 * i + 2]] for i in range(layers)]

    def layer(weights: Any, biases: Any, hidden: Any, cell: Any, x: Any) -> tuple[Any, Any]:
        forget = gw.special.expit(x * weights[0] + biases[0])
        take = gw.special.expit(hidden * weights[1] + biases[1])
        give = gw.special.expit(x * weights[2] + biases[2])
        cell = cell * forget + take * np.tanh(hidden * weights[3] + biases[3])
        return give * np.tanh(cell), cell

    def step(states: Any, x: Any) -> tuple[Any, Any]:
        found = []
        for (weights, biases), (hidden, cell) in zip(gates, states, strict=True):
            hidden, cell = layer(weights, biases, hidden, cell, x)
            found.append((hidden, cell))
            x = hidden
        return tuple(found), x

    start = tuple((state[2 * number], state[2 * number + 1]) for number in range(layers))
    _, outputs = gw.scan(step, start, sequence[:-1] * extra[0])
    predicted = outputs * extra[1] + extra[2]
    log_sums = np.log(2.0 + np.sum(np.exp(predicted), axis=1, keepdims=True))
    return -np.sum(sequence[1:] * (predicted - log_sums)) / outputs.size


VALUE, GRADIENT = gw.remote(loss), gw.grad(loss, argnums=(0, 1))


def _arguments(input: Input) -> list[np.ndarray]:
    return [np.asarray(input[name], dtype=np.float64) for name in ("main_params", "extra_params", "state", "sequence")]


def _objective(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: VALUE(*given))


def _jacobian(input: Input) -> Task:
    given = _arguments(input)
    return Task(lambda: np.concatenate([part.ravel() for part in GRADIENT(*given)]))


FUNCTIONS: Functions = {"objective": _objective, "jacobian": _jacobian}
