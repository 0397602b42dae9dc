"""lstm as its eval asks: its inputs, and loss and gradient step by step, differentiated by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.gradbench.references.data import data_file

GOLDEN = 0.66666518
"""Of the file l2_c1024, to the digits that are published."""


def input_of_file(name: str) -> dict[str, Any]:
    """An instance of the benchmark."""
    lines = [line.split() for line in data_file(name).read_text().splitlines() if line.strip()]
    layers, length, _ = map(int, lines[0])
    rows = [list(map(float, line)) for line in lines[1:]]
    ends = np.cumsum([2 * layers, 3, 2 * layers, length])
    names = ("main_params", "extra_params", "state", "sequence")
    return {name: rows[start:end] for name, start, end in zip(names, [0, *ends], ends, strict=False)}


def made_up(layers: int, length: int, bits: int, seed: int = 31337) -> dict[str, Any]:
    """Random parameters as the eval draws them, and a random text in bits."""
    rng = np.random.RandomState(seed)
    return {
        "main_params": rng.random_sample((2 * layers, 4 * bits)).tolist(),
        "extra_params": rng.random_sample((3, bits)).tolist(),
        "state": rng.random_sample((2 * layers, bits)).tolist(),
        "sequence": rng.randint(0, 2, (length, bits)).astype(float).tolist(),
    }


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _forward(main: Any, state: Any, xs: np.ndarray) -> tuple[np.ndarray, list[list[tuple[np.ndarray, ...]]]]:
    """The last layer's outputs, and what the way back needs of each step and layer."""
    hidden, cell = [np.array(one) for one in state[0::2]], [np.array(one) for one in state[1::2]]
    outputs, kept = [], []
    for x in xs:
        of_step = []
        for layer, (weights, biases) in enumerate(zip(main[0::2], main[1::2], strict=True)):
            h, c = hidden[layer], cell[layer]
            forget = _sigmoid(x * weights[0] + biases[0])
            take = _sigmoid(h * weights[1] + biases[1])
            give = _sigmoid(x * weights[2] + biases[2])
            change = np.tanh(h * weights[3] + biases[3])
            cell[layer] = c * forget + take * change
            hidden[layer] = give * np.tanh(cell[layer])
            of_step.append((x, h, c, forget, take, give, change, np.tanh(cell[layer])))
            x = hidden[layer]
        outputs.append(x)
        kept.append(of_step)
    return np.array(outputs), kept


def _backward(main: Any, kept: list[list[tuple[np.ndarray, ...]]], by_outputs: np.ndarray) -> tuple[Any, np.ndarray]:
    """The gradient by the weights and biases, and by the inputs of the first layer."""
    by_main, by_inputs = np.zeros_like(main), np.zeros_like(by_outputs)
    layers = len(main) // 2
    by_hidden, by_cell = np.zeros((2, layers, by_outputs.shape[1]))
    for step in reversed(range(len(kept))):
        arriving = by_outputs[step]
        for layer in reversed(range(layers)):
            x, h, c, forget, take, give, change, squashed = kept[step][layer]
            weights = main[2 * layer]
            to_hidden = by_hidden[layer] + arriving
            to_cell = by_cell[layer] + to_hidden * give * (1 - squashed**2)
            sums = [
                to_cell * c * forget * (1 - forget),
                to_cell * change * take * (1 - take),
                to_hidden * squashed * give * (1 - give),
                to_cell * take * (1 - change**2),
            ]
            by_main[2 * layer] += np.array([x, h, x, h]) * sums
            by_main[2 * layer + 1] += sums
            by_cell[layer] = to_cell * forget
            by_hidden[layer] = sums[1] * weights[1] + sums[3] * weights[3]
            arriving = sums[0] * weights[0] + sums[2] * weights[2]
        by_inputs[step] = arriving
    return by_main, by_inputs


def loss(input: dict[str, Any]) -> Any:
    """The objective, for real and complex parameters."""
    extra, sequence = np.array(input["extra_params"]), np.array(input["sequence"])
    main = np.array(input["main_params"]).reshape(-1, 4, extra.shape[1])
    outputs, _ = _forward(main, input["state"], sequence[:-1] * extra[0])
    predicted = outputs * extra[1] + extra[2]
    total = 2 + np.exp(predicted).sum(axis=1, keepdims=True)
    return -(sequence[1:] * (predicted - np.log(total))).sum() / predicted.size


def expected(function: str, input: dict[str, Any]) -> Any:
    """The golden answer."""
    if function == "objective":
        return float(loss(input))
    extra, sequence = np.array(input["extra_params"]), np.array(input["sequence"])
    main = np.array(input["main_params"]).reshape(-1, 4, extra.shape[1])
    gold = sequence[1:]
    outputs, kept = _forward(main, input["state"], sequence[:-1] * extra[0])
    predicted = outputs * extra[1] + extra[2]
    total = 2 + np.exp(predicted).sum(axis=1, keepdims=True)
    by_predicted = -(gold - gold.sum(axis=1, keepdims=True) * np.exp(predicted) / total) / gold.size
    by_main, by_inputs = _backward(main, kept, by_predicted * extra[1])
    by_extra = [(by_inputs * sequence[:-1]).sum(0), (by_predicted * outputs).sum(0), by_predicted.sum(0)]
    return np.concatenate([by_main.ravel(), *by_extra]).tolist()
