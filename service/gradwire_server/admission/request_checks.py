"""Whether a request fits a prepared program: its inputs the signature, its cost the limits, its answer a message.

A number of rows up to which cost and answer surely fit is computed once, so that a request is held against the limits
only above it. The work is linear in the number of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gradwire.wire.requests import MAX_ROWS, SlicedEvaluate
from gradwire.wire.tensors import TensorView
from gradwire_engine.bounds import Cost
from gradwire_engine.types import TensorType
from gradwire_server.admission.signature import Input, Signature
from gradwire_server.config.table import ServerConfig
from gradwire_server.refusal import Refusal, over_limit

_OUTPUT_OVERHEAD: Final = 8 + 16 * 10 + 32  # of a tensor in a response: field headers and a shape, at most
_RESPONSE_OVERHEAD: Final = 512  # the report


class RequestChecks:
    """The checks of one program in one layout. Immutable."""

    def __init__(self, signature: Signature, cost: Cost, config: ServerConfig) -> None:
        self._signature = signature
        self._cost = cost
        self._config = config
        self._overhead = _RESPONSE_OVERHEAD + _OUTPUT_OVERHEAD * len(signature.outputs)
        self._surely_fits = self._rows_that_surely_fit()

    def check(self, request: SlicedEvaluate) -> tuple[int, int]:
        """The rows of a request that may run, and its bytes both ways; a Refusal says what does not fit."""
        rows = request.rows
        signature = self._signature
        if len(request.inputs) != len(signature.inputs):
            raise self._mismatch(request.inputs, rows)
        count = 1 if rows is None else rows
        nbytes = signature.constant_bytes + signature.row_bytes * count
        for view, (dtype, shape, is_shared, _) in zip(request.inputs, signature.inputs, strict=True):
            expected = shape if rows is None or is_shared else (rows, *shape)
            if view.shape != expected or view.dtype is not dtype:
                raise self._mismatch(request.inputs, rows)
            if view.data is not None:
                nbytes += len(view.data)
        if count > self._surely_fits:
            self._check_cost(count)
            self._check_response(count)
        return count, nbytes

    def _rows_that_surely_fit(self) -> int:
        """A number of rows up to which neither cost nor response can be too large; -1 if they are without any row."""
        cost, signature, config = self._cost, self._signature, self._config
        if cost.bytes.at(1) > config.worker_memory:
            return -1
        by_flops = MAX_ROWS
        if not cost.open_ended:
            by_flops = _rows_within(config.max_request_flops, cost.flops.constant, cost.flops.per_row)
        fixed = signature.constant_bytes + self._overhead
        return min(by_flops, _rows_within(config.max_message_bytes, fixed, signature.row_bytes))

    def _check_cost(self, rows: int) -> None:
        cost, config = self._cost, self._config
        flops = cost.flops.at(rows)
        if flops > config.max_request_flops and not cost.open_ended:
            raise over_limit(
                "PROGRAM_TOO_EXPENSIVE",
                f"bound on the operations for {rows:,} rows",
                config.limit("max_request_flops"),
                flops,
                advice="send fewer rows, or a cheaper program",
            )
        least = cost.bytes.at(min(rows, 1))
        if least > config.worker_memory:
            raise over_limit(
                "PROGRAM_TOO_EXPENSIVE",
                "bound on the memory for one row",
                config.limit("worker_memory"),
                least,
                advice="send a cheaper program",
            )

    def _check_response(self, rows: int) -> None:
        signature, limit = self._signature, self._config.limit("max_message_bytes")
        fixed = signature.constant_bytes + self._overhead
        nbytes = fixed + signature.row_bytes * rows
        if nbytes <= limit.value:
            return
        fits = max(0, (int(limit.value) - fixed) // signature.row_bytes) if signature.row_bytes else 0
        advice = f"{fits:,} rows fit" if fits else "ask for fewer or summed outputs"
        refusal = over_limit("RESPONSE_TOO_LARGE", "bytes of the response", limit, nbytes, advice=advice)
        refusal.details = {**refusal.details, "rows_that_fit": str(fits)}
        raise refusal

    def _mismatch(self, views: Sequence[TensorView], rows: int | None) -> Refusal:
        """Which inputs do not fit, what was got and what was expected."""
        expected = [_expected(input, rows) for input in self._signature.inputs]
        violations = []
        for index, wanted in enumerate(expected):
            if index >= len(views):
                violations.append((f"inputs[{index}]", f"{wanted} is missing"))
            elif views[index].type != wanted.type:
                violations.append((f"inputs[{index}]", f"got {views[index].type}, expected {wanted}"))
        for index in range(len(expected), len(views)):
            violations.append((f"inputs[{index}]", f"got {views[index].type}, expected no such input"))
        counts = "" if len(views) == len(expected) else f"got {len(views)} inputs, expected {len(expected)}; "
        path, what = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        return Refusal("INPUT_MISMATCH", f"{counts}{path}: {what}{more}", violations=violations)


class _Expected(NamedTuple):
    """The type that an input should have, and what people call it."""

    type: TensorType
    name: str
    note: str

    def __str__(self) -> str:
        named = f' for "{self.name}"' if self.name else ""
        return f"{self.type}{named}" + (f" ({self.note})" if self.note else "")


def _expected(input: Input, rows: int | None) -> _Expected:
    example = TensorType(input.dtype, input.shape)
    if rows is None:
        return _Expected(example, input.name, "")
    if input.is_shared:
        return _Expected(example, input.name, "shared")
    return _Expected(example.with_shape((rows, *input.shape)), input.name, f"{rows:,} rows of {example}")


def _rows_within(limit: float, fixed: int, each: int) -> int:
    """How many rows of `each` fit a limit besides what is `fixed`; -1 if not even none do."""
    if fixed > limit:
        return -1
    return int((limit - fixed) // each) if each else MAX_ROWS
