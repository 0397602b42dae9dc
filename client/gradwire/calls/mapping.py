"""`.map`: a batch too large for one message, in chunks of rows.

At most `IN_FLIGHT` chunks are under way, each of about `CHUNK_BYTES`, so the memory beyond arguments and results is
bounded here and at the service; where the target has several addresses the chunks are spread over them. Results are put
in their places as they come; what is summed over rows is added up chunk by chunk, in order, so that the sum does not
depend on timing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from gradwire.calls.arguments import Call, Leaves, refuse
from gradwire.calls.exchange import Pending, submit
from gradwire.calls.kept import KeptTrace
from gradwire.calls.progress import progress_bar
from gradwire.calls.signature import CallSignature, Port, Step
from gradwire.calls.template import RequestTemplate, make_template
from gradwire.calls.transformed import TransformedFunction
from gradwire.connection.default import current_client
from gradwire.errors import InvalidRequestError, RowError

CHUNK_BYTES: Final = 4 << 20
IN_FLIGHT: Final = 8
_FEWEST_ROWS: Final = 1024
_CHUNKS: Final = 32

Rows = tuple[int, int]
"""The first row of a chunk, and the one after its last."""


def map_in_chunks(
    function: TransformedFunction, batches: tuple[Any, ...], *, by_row: Step, chunk: int | None, progress: bool
) -> Any:
    """The function on all rows of `batches`. `by_row` maps a function over axis 0 of its arguments and of its result:
    it is added where the function has no batch of its own.
    """
    asked: Any = chunk
    if chunk is not None and not (isinstance(asked, (int, np.integer)) and asked >= 1):
        raise refuse(f".map: chunk is {chunk!r}; give a number of rows, at least 1")
    leaves, call = function.call_of(batches, {})
    job = _Job(leaves, call, *_with_batch(function, call, by_row))
    rows = job.rows
    size = int(chunk) if chunk is not None else _chosen_rows(job.signature, rows, job.client.max_message_bytes)
    chunks = [(start, min(start + size, rows)) for start in range(0, rows, size)] or [(0, 0)]
    gathered = _Gathered(job.signature, rows)
    with progress_bar(rows, progress) as bar:
        for (start, end), result in _in_order(chunks, job.send):
            gathered.put(result, start, end)
            bar.advance(end - start)
    return gathered.result()


def _with_batch(
    function: TransformedFunction, call: Call, by_row: Step
) -> tuple[TransformedFunction, KeptTrace, CallSignature]:
    """The function with a batch: as it is if vmap gave it one, else by row."""
    if function.has_axis:
        kept, signature = function.signature(call)
        if signature.rows is not None:
            return function, kept, signature
    mapped = function.then(by_row)
    return mapped, *mapped.signature(call)


class _Job:
    """What all chunks of one `.map` have in common; what the function closes over is read once."""

    def __init__(
        self, leaves: Leaves, call: Call, function: TransformedFunction, kept: KeptTrace, signature: CallSignature
    ) -> None:
        self.client = current_client()
        self.signature = signature
        self._leaves = leaves
        self._call = call
        self._function = function
        self._kept = kept
        self._constants = kept.constants
        self._templates: dict[int, RequestTemplate] = {}

    @property
    def rows(self) -> int:
        """All rows."""
        rows = self.signature.rows
        assert rows is not None
        return rows

    def send(self, start: int, end: int) -> Pending:
        """The call for the rows from `start` to `end`."""
        leaves = []
        for leaf, index in zip(self._leaves, self.signature.arguments, strict=True):
            axis = self.signature.inputs[index].axis if index >= 0 else None
            leaves.append(leaf if axis is None else np.asarray(leaf)[(*(slice(None),) * axis, slice(start, end))])
        template = self._templates.get(end - start)
        if template is None:
            template = self._templates[end - start] = self._template(leaves)
        return submit(template, leaves, self._constants, self.client)

    def _template(self, leaves: Leaves) -> RequestTemplate:
        types = tuple(
            [
                type.with_shape(leaf.shape) if isinstance(leaf, np.ndarray) else type
                for type, leaf in zip(self._call.types, leaves, strict=True)
            ]
        )
        call = replace(self._call, types=types)
        _, signature = self._function.signature(call)
        # means are over all rows: the chunks give sums, which are divided at the end
        sums = replace(signature, outputs=tuple([replace(port, power=0) for port in signature.outputs]))
        return make_template(self._kept, sums, call, self.client.snapshot_bytes)


def _chosen_rows(signature: CallSignature, rows: int, limit: int) -> int:
    """Rows of a chunk: as many as make `CHUNK_BYTES`, but several chunks where there are many rows."""
    sent = sum(_row_bytes(port) for port in signature.inputs)
    received = sum(_row_bytes(port) for port in signature.outputs)
    by_bytes = max(min(CHUNK_BYTES, limit // 2) // max(sent, received, 1), 1)
    return min(by_bytes, max(-(-rows // _CHUNKS), _FEWEST_ROWS))


def _row_bytes(port: Port) -> int:
    return port.type.elements * port.type.dtype.itemsize if port.axis is not None else 0


def _in_order(chunks: Sequence[Rows], send: Callable[[int, int], Pending]) -> Iterator[tuple[Rows, Any]]:
    """Each chunk with its result, in order, a few ahead of the one that is waited for."""
    waiting: deque[tuple[Rows, Pending]] = deque()
    remaining = iter(chunks)
    try:
        while True:
            while len(waiting) < IN_FLIGHT and (chunk := next(remaining, None)) is not None:
                waiting.append((chunk, send(*chunk)))
            if not waiting:
                return
            (start, end), pending = waiting.popleft()
            try:
                yield (start, end), pending.result()
            except InvalidRequestError as error:
                if error.reason in ("RESPONSE_TOO_LARGE", "MESSAGE_TOO_LARGE"):
                    error.add_note(f"this chunk has {end - start:,} rows; pass a smaller chunk= to .map")
                raise
            except RowError as error:
                rows = tuple([start + row for row in error.rows])
                message = f"in the chunk of the rows from {start:,}: {error}"
                raise RowError(message, rows=rows, reason=error.reason, request_id=error.request_id) from None
    finally:
        for _, pending in waiting:
            pending.cancel()


class _Gathered:
    """The results of the chunks, put together."""

    def __init__(self, signature: CallSignature, rows: int) -> None:
        self._signature = signature
        self._rows = rows
        self._leaves: list[Any] = [None] * len(signature.results)

    def put(self, result: Any, start: int, end: int) -> None:
        """The result for some rows."""
        parts = self._signature.result.spread(result, "the result")
        for leaf, (output, part) in enumerate(zip(self._signature.results, parts, strict=True)):
            if output < 0:
                continue
            port = self._signature.outputs[output]
            if port.axis is None:
                held = self._leaves[leaf]
                self._leaves[leaf] = part if held is None else held + part
                continue
            if self._leaves[leaf] is None:
                self._leaves[leaf] = np.empty(port.full_type(self._rows).shape, dtype=port.type.dtype.numpy)
            self._leaves[leaf][(*(slice(None),) * port.axis, slice(start, end))] = part

    def result(self) -> Any:
        """The whole."""
        leaves = []
        for output, leaf in zip(self._signature.results, self._leaves, strict=True):
            power = self._signature.outputs[output].power if output >= 0 else 0
            if power:
                divisor = float(self._rows) ** power
                with np.errstate(all="ignore"):
                    leaf = leaf / leaf.dtype.type(divisor)
            leaves.append(leaf)
        return self._signature.result.build(leaves)
