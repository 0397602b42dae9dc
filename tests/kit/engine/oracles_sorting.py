"""Running reductions written again for independent engines: element i is the reduction of the elements up to i."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


def numpy_like(xp: Any) -> dict[str, Function]:
    """In a namespace like numpy's, without its own running reductions."""

    def running(reduce: Callable[[Any], Any]) -> Function:
        def function(attributes: Any, x: Any) -> Any:
            line = xp.moveaxis(x, attributes.axis, -1)
            length = line.shape[-1]
            if not length:
                return x
            parts = [line[..., i:] if attributes.reverse else line[..., : i + 1] for i in range(length)]
            return xp.moveaxis(xp.stack([reduce(part) for part in parts], axis=-1), -1, attributes.axis)

        return function

    return {
        "cumulative_sum": running(lambda line: xp.sum(line, axis=-1)),
        "cumulative_prod": running(lambda line: xp.prod(line, axis=-1)),
        "cumulative_max": running(lambda line: xp.max(line, axis=-1)),
        "cumulative_min": running(lambda line: xp.min(line, axis=-1)),
        "cumulative_logsumexp": running(lambda line: xp.log(xp.sum(xp.exp(line), axis=-1))),
    }


def in_torch(torch: Any) -> dict[str, Function]:
    """By torch's own running reductions."""

    def running(accumulate: Callable[[Any, int], Any]) -> Function:
        def function(attributes: Any, x: Any) -> Any:
            if not attributes.reverse:
                return accumulate(x, attributes.axis)
            return accumulate(x.flip(attributes.axis), attributes.axis).flip(attributes.axis)

        return function

    return {
        "cumulative_sum": running(torch.cumsum),
        "cumulative_prod": running(torch.cumprod),
        "cumulative_max": running(lambda x, axis: torch.cummax(x, axis).values),
        "cumulative_min": running(lambda x, axis: torch.cummin(x, axis).values),
        "cumulative_logsumexp": running(torch.logcumsumexp),
    }
