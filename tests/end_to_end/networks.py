"""Three small networks, each written for this service and again, independently, for autograd and for torch.

Ours are losses of one example; theirs are losses of all examples together. In autograd a convolution is a sum over the
elements of the kernel, a pool a maximum over a reshaped array, and a masked softmax is guarded by numbers; ours uses
infinities, and its fully masked row is left out by `where`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy.special import erf

import gradwire as gw

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """Parameters, examples along the first axis, and the three losses."""

    name: str
    parameters: dict[str, np.ndarray]
    data: tuple[np.ndarray, ...]
    ours: Callable[..., Any]
    """(parameters, *one example) -> loss."""
    in_autograd: Callable[..., Any]
    """(parameters, *all examples) -> the sum of their losses."""
    in_torch: Callable[..., Any]
    """(torch, parameters, *all examples) -> the sum of their losses."""


RNG = np.random.default_rng(33)


def _normal(*shape: int) -> np.ndarray:
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    return np.asarray(RNG.normal(size=shape)) / np.sqrt(max(fan_in, 4))


def _cross_entropy(logits: Any, label: Any) -> Any:
    return gw.special.logsumexp(logits) - np.take(logits, label)


def _cross_entropy_in_autograd(logits: Any, labels: np.ndarray) -> Any:
    peak = anp.max(logits, axis=1, keepdims=True)
    total = anp.log(anp.sum(anp.exp(logits - peak), axis=1)) + peak[:, 0]
    return anp.sum(total - logits[np.arange(len(labels)), labels])


# A multi-layer perceptron


def _perceptron(p: Parameters, x: Any, label: Any) -> Any:
    hidden = np.tanh(p["w1"] @ x + p["b1"])
    hidden = gw.special.softplus(p["w2"] @ hidden + p["b2"])
    return _cross_entropy(p["w3"] @ hidden + p["b3"], label)


def _perceptron_in_autograd(p: Parameters, x: Any, labels: np.ndarray) -> Any:
    hidden = anp.tanh(anp.dot(x, p["w1"].T) + p["b1"])
    hidden = anp.logaddexp(0.0, anp.dot(hidden, p["w2"].T) + p["b2"])
    return _cross_entropy_in_autograd(anp.dot(hidden, p["w3"].T) + p["b3"], labels)


def _perceptron_in_torch(torch: Any, p: Parameters, x: Any, labels: Any) -> Any:
    functional = torch.nn.functional
    hidden = torch.tanh(functional.linear(x, p["w1"], p["b1"]))
    hidden = functional.softplus(functional.linear(hidden, p["w2"], p["b2"]), threshold=1000)
    return functional.cross_entropy(functional.linear(hidden, p["w3"], p["b3"]), labels, reduction="sum")


PERCEPTRON = Network(
    "perceptron",
    {
        "w1": _normal(7, 5),
        "b1": _normal(7),
        "w2": _normal(6, 7),
        "b2": _normal(6),
        "w3": _normal(3, 6),
        "b3": _normal(3),
    },
    (_normal(40, 5) * 3.0, RNG.integers(0, 3, 40)),
    _perceptron,
    _perceptron_in_autograd,
    _perceptron_in_torch,
)


# A convolutional network: two convolutions, the second in groups and with strides, a pool, a dense layer


def _convolutional(p: Parameters, image: Any, label: Any) -> Any:
    hidden = gw.special.relu(gw.special.conv(image, p["k1"], p["c1"], padding=1))
    hidden = gw.special.max_pool(hidden, (2, 2))
    hidden = np.tanh(gw.special.conv(hidden, p["k2"], p["c2"], strides=2, padding=1, groups=2))
    return _cross_entropy(p["w"] @ np.ravel(hidden) + p["b"], label)


def _conv_in_autograd(x: Any, w: Any, b: Any, stride: int, padding: int, groups: int) -> Any:
    x = anp.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)], mode="constant")
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape[2:], w.shape[2:], strict=True))
    size = w.shape[0] // groups
    parts = []
    for group in range(groups):
        seen = x[:, group * w.shape[1] : (group + 1) * w.shape[1]]
        weights = w[group * size : (group + 1) * size]
        total = 0.0
        for i, j in np.ndindex(*w.shape[2:]):
            box = seen[:, :, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
            total = total + anp.einsum("ncij,oc->noij", box, weights[:, :, i, j])
        parts.append(total)
    return anp.concatenate(parts, axis=1) + b[:, None, None]


def _convolutional_in_autograd(p: Parameters, images: Any, labels: np.ndarray) -> Any:
    hidden = anp.maximum(_conv_in_autograd(images, p["k1"], p["c1"], 1, 1, 1), 0.0)
    n, channels, rows, columns = hidden.shape
    blocks = anp.reshape(hidden, (n, channels, rows // 2, 2, columns // 2, 2))
    hidden = anp.max(anp.max(blocks, axis=5), axis=3)
    hidden = anp.tanh(_conv_in_autograd(hidden, p["k2"], p["c2"], 2, 1, 2))
    logits = anp.dot(anp.reshape(hidden, (n, -1)), p["w"].T) + p["b"]
    return _cross_entropy_in_autograd(logits, labels)


def _convolutional_in_torch(torch: Any, p: Parameters, images: Any, labels: Any) -> Any:
    functional = torch.nn.functional
    hidden = torch.relu(functional.conv2d(images, p["k1"], p["c1"], padding=1))
    hidden = functional.max_pool2d(hidden, 2)
    hidden = torch.tanh(functional.conv2d(hidden, p["k2"], p["c2"], stride=2, padding=1, groups=2))
    logits = functional.linear(hidden.flatten(1), p["w"], p["b"])
    return functional.cross_entropy(logits, labels, reduction="sum")


CONVOLUTIONAL = Network(
    "convolutional",
    {
        "k1": _normal(4, 2, 3, 3), "c1": _normal(4), "k2": _normal(6, 2, 3, 3), "c2": _normal(6),
        "w": _normal(3, 24), "b": _normal(3),
    },
    (_normal(12, 2, 8, 8) * 8.0, RNG.integers(0, 3, 12)),
    _convolutional,
    _convolutional_in_autograd,
    _convolutional_in_torch,
)  # fmt: skip


# A self-attention block: many heads, a mask, layer norm before each part, residuals, gelu. One row sees nothing.

HEADS, LENGTH, WIDTH, PER_HEAD, WIDE = 2, 5, 6, 3, 8


def _norm(x: Any, scale: Any, shift: Any, xp: Any) -> Any:
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred**2, axis=-1, keepdims=True) + 1e-5) * scale + shift


def _attention(p: Parameters, x: Any, mask: Any, target: Any) -> Any:
    seen = _norm(x, p["g1"], p["h1"], np)
    q, k, v = (np.einsum("td,hdf->htf", seen, p[name]) for name in ("wq", "wk", "wv"))
    scores = np.where(mask, np.einsum("htf,hsf->hts", q, k) / np.sqrt(PER_HEAD), -np.inf)
    weights = np.where(np.any(mask, axis=-1, keepdims=True), gw.special.softmax(scores, axis=-1), 0.0)
    x = x + np.einsum("hts,hsf,hfd->td", weights, v, p["wo"])
    hidden = gw.special.gelu(_norm(x, p["g2"], p["h2"], np) @ p["w1"] + p["b1"])
    return np.sum((x + hidden @ p["w2"] + p["b2"] - target) ** 2)


def _attention_in_autograd(p: Parameters, x: Any, mask: np.ndarray, target: np.ndarray) -> Any:
    seen = _norm(x, p["g1"], p["h1"], anp)
    q, k, v = (anp.einsum("ntd,hdf->nhtf", seen, p[name]) for name in ("wq", "wk", "wv"))
    scores = anp.einsum("nhtf,nhsf->nhts", q, k) / np.sqrt(PER_HEAD)
    kept = mask[:, None].astype(float)
    parts = anp.exp(scores - anp.max(scores, axis=-1, keepdims=True)) * kept
    total = anp.sum(parts, axis=-1, keepdims=True)
    weights = parts / (total + (np.sum(kept, axis=-1, keepdims=True) == 0))
    x = x + anp.einsum("nhtf,hfd->ntd", anp.einsum("nhts,nhsf->nhtf", weights, v), p["wo"])
    hidden = anp.dot(_norm(x, p["g2"], p["h2"], anp), p["w1"]) + p["b1"]
    hidden = 0.5 * hidden * (1.0 + erf(hidden / np.sqrt(2.0)))
    return anp.sum((x + anp.dot(hidden, p["w2"]) + p["b2"] - target) ** 2)


def _attention_in_torch(torch: Any, p: Parameters, x: Any, mask: Any, target: Any) -> Any:
    functional = torch.nn.functional
    seen = functional.layer_norm(x, (WIDTH,), p["g1"], p["h1"])
    q, k, v = (torch.einsum("ntd,hdf->nhtf", seen, p[name]) for name in ("wq", "wk", "wv"))
    scores = torch.einsum("nhtf,nhsf->nhts", q, k) / np.sqrt(PER_HEAD)
    visible = mask[:, None]
    some = visible.any(-1, keepdim=True)
    weights = torch.softmax(torch.where(visible | ~some, scores, -torch.inf), -1) * some
    x = x + torch.einsum("nhts,nhsf,hfd->ntd", weights, v, p["wo"])
    hidden = functional.gelu(functional.layer_norm(x, (WIDTH,), p["g2"], p["h2"]) @ p["w1"] + p["b1"])
    return ((x + hidden @ p["w2"] + p["b2"] - target) ** 2).sum()


_EXAMPLES = 6
_MASK = RNG.random((_EXAMPLES, LENGTH, LENGTH)) < 0.6
_MASK[:, 2] = False
_MASK[:, [0, 1, 3, 4], 0] = True

ATTENTION = Network(
    "attention",
    {
        "g1": 1.0 + _normal(WIDTH), "h1": _normal(WIDTH), "g2": 1.0 + _normal(WIDTH), "h2": _normal(WIDTH),
        "wq": _normal(HEADS, WIDTH, PER_HEAD) * 3.0, "wk": _normal(HEADS, WIDTH, PER_HEAD) * 3.0,
        "wv": _normal(HEADS, WIDTH, PER_HEAD), "wo": _normal(HEADS, PER_HEAD, WIDTH),
        "w1": _normal(WIDTH, WIDE), "b1": _normal(WIDE), "w2": _normal(WIDE, WIDTH), "b2": _normal(WIDTH),
    },
    (_normal(_EXAMPLES, LENGTH, WIDTH) * 5.0, _MASK, _normal(_EXAMPLES, LENGTH, WIDTH)),
    _attention,
    _attention_in_autograd,
    _attention_in_torch,
)  # fmt: skip

NETWORKS = (PERCEPTRON, CONVOLUTIONAL, ATTENTION)
