"""`.map`: a batch too large for one message, in chunks of rows.

At most `IN_FLIGHT` chunks are under way, each of about `CHUNK_BYTES`, so the memory beyond arguments and results is
bounded here and at the service; where the target has several addresses the chunks are spread over them. Results are put
in their places as they come; what is summed over rows is added up chunk by chunk, in order, so that the sum does not
depend on timing.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from gradwire.calls.exchange import Pending, submit
from gradwire.calls.memory import Remembered
from gradwire.calls.signature import Arrangement, Call
from gradwire.calls.template import Plan, call_of, make_plan
from gradwire.connection.client import current_client
from gradwire.errors import InvalidRequestError, RowError
from gradwire.tracing.trees import flatten
from gradwire.transformations.remote import Remote
from gradwire.transformations.steps import refuse
from gradwire.transformations.vmap import Axes, VmapStep

CHUNK_BYTES: Final = 4 << 20
IN_FLIGHT: Final = 8
_FEWEST_ROWS: Final = 1024
_CHUNKS: Final = 32


def map_in_chunks(function: Remote, batches: tuple[Any, ...], *, chunk: int | None, progress: bool) -> Any:
    """The function on all rows of `batches`."""
    asked: Any = chunk
    if chunk is not None and not (isinstance(asked, (int, np.integer)) and asked >= 1):
        raise refuse(f".map: chunk is {chunk!r}; give a number of rows, at least 1")
    leaves, tree = flatten((batches, {}))
    job = _Job(function, leaves, call_of(leaves, tree, function.leaf_names(tree)))
    rows = job.rows
    size = int(chunk) if chunk is not None else _chosen_rows(job.arrangement, rows, job.client.max_message_bytes)
    parts = [(start, min(start + size, rows)) for start in range(0, rows, size)] or [(0, 0)]
    gathered = _Gathered(job.arrangement, rows)
    with _progress(rows, progress) as bar:
        for (start, end), result in _in_order(parts, job.send):
            gathered.put(result, start, end)
            bar.advance(end - start)
    return gathered.result()


class _Job:
    """What all chunks of one `.map` have in common; what the function closes over is read once."""

    def __init__(self, function: Remote, leaves: Sequence[Any], call: Call) -> None:
        self.client = current_client()
        self._leaves = leaves
        self._call = call
        self._function, self._remembered, self.arrangement = _arranged(function, call)
        self._constants = self._remembered.state[1]
        self._plans: dict[int, Plan] = {}

    @property
    def rows(self) -> int:
        """All rows."""
        rows = self.arrangement.rows
        assert rows is not None
        return rows

    def send(self, start: int, end: int) -> Pending:
        """The call for the rows from `start` to `end`."""
        part = []
        for leaf, index in zip(self._leaves, self.arrangement.arguments, strict=True):
            axis = self.arrangement.inputs[index].axis if index >= 0 else None
            part.append(leaf if axis is None else np.asarray(leaf)[(*(slice(None),) * axis, slice(start, end))])
        plan = self._plans.get(end - start)
        if plan is None:
            plan = self._plans[end - start] = self._plan(part)
        return submit(plan, self.client, part, self._constants)

    def _plan(self, part: Sequence[Any]) -> Plan:
        types = tuple(
            [
                one.with_shape(value.shape) if isinstance(value, np.ndarray) else one
                for one, value in zip(self._call.types, part, strict=True)
            ]
        )
        call = replace(self._call, types=types)
        _, arranged = self._function.arranged(call)
        # means are over all rows: the chunks give sums, which are divided at the end
        sums = replace(arranged, outputs=tuple([replace(port, power=0) for port in arranged.outputs]))
        return make_plan(self._remembered, sums, call, self.client.snapshot_bytes)


def _arranged(function: Remote, call: Call) -> tuple[Remote, Remembered, Arrangement]:
    """The function with a batch: as it is if `vmap` gave it one, else mapped over axis 0 of its arguments."""
    if any(isinstance(step, VmapStep) for step in function._steps):
        remembered, arrangement = function.arranged(call)
        if arrangement.rows is not None:
            return function, remembered, arrangement
    mapped = function.then(VmapStep(Axes.of(0), Axes.of(0), Axes.of(None)))
    return mapped, *mapped.arranged(call)


def _chosen_rows(arrangement: Arrangement, rows: int, limit: int) -> int:
    """Rows of a chunk: as many as make `CHUNK_BYTES`, but several chunks where there are many rows."""
    sent = sum(_row_bytes(port) for port in arrangement.inputs)
    received = sum(_row_bytes(port) for port in arrangement.outputs)
    by_bytes = max(min(CHUNK_BYTES, limit // 2) // max(sent, received, 1), 1)
    return min(by_bytes, max(-(-rows // _CHUNKS), _FEWEST_ROWS))


def _row_bytes(port: Any) -> int:
    bytes_of: int = port.type.elements * port.type.dtype.itemsize
    return bytes_of if port.axis is not None else 0


def _in_order(
    parts: Sequence[tuple[int, int]], send: Callable[[int, int], Pending]
) -> Iterator[tuple[tuple[int, int], Any]]:
    """Each part with its result, in order, a few ahead of the one that is waited for."""
    waiting: deque[tuple[tuple[int, int], Pending]] = deque()
    remaining = iter(parts)
    try:
        while True:
            while len(waiting) < IN_FLIGHT and (part := next(remaining, None)) is not None:
                waiting.append((part, send(*part)))
            if not waiting:
                return
            part, pending = waiting.popleft()
            try:
                yield part, pending.result()
            except InvalidRequestError as error:
                if error.reason in ("RESPONSE_TOO_LARGE", "MESSAGE_TOO_LARGE"):
                    error.add_note(f"this chunk has {part[1] - part[0]:,} rows; pass a smaller chunk= to .map")
                raise
            except RowError as error:
                rows = tuple([part[0] + row for row in error.rows])
                message = f"in the chunk of the rows from {part[0]:,}: {error}"
                raise RowError(message, rows=rows, reason=error.reason, request_id=error.request_id) from None
    finally:
        for _, pending in waiting:
            pending.cancel()


class _Gathered:
    """The results of the chunks, put together."""

    def __init__(self, arrangement: Arrangement, rows: int) -> None:
        self._arrangement = arrangement
        self._rows = rows
        self._found: list[Any] = [None] * len(arrangement.results)

    def put(self, result: Any, start: int, end: int) -> None:
        """The result for some rows."""
        parts = self._arrangement.result.spread(result, "the result")
        for leaf, (output, part) in enumerate(zip(self._arrangement.results, parts, strict=True)):
            if output < 0:
                continue
            port = self._arrangement.outputs[output]
            if port.axis is None:
                held = self._found[leaf]
                self._found[leaf] = part if held is None else held + part
                continue
            if self._found[leaf] is None:
                self._found[leaf] = np.empty(port.seen(self._rows).shape, dtype=port.type.dtype.numpy)
            self._found[leaf][(*(slice(None),) * port.axis, slice(start, end))] = part

    def result(self) -> Any:
        """The whole."""
        leaves = []
        for output, found in zip(self._arrangement.results, self._found, strict=True):
            power = self._arrangement.outputs[output].power if output >= 0 else 0
            if power:
                by = float(self._rows) ** power
                with np.errstate(all="ignore"):
                    found = found / found.dtype.type(by)
            leaves.append(found)
        return self._arrangement.result.build(leaves)


class _Bar(Protocol):
    def advance(self, rows: int) -> None: ...

    def __enter__(self) -> _Bar: ...

    def __exit__(self, *error: object) -> None: ...


def _progress(rows: int, wanted: bool) -> _Bar:
    if not wanted:
        return _NoBar()
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return _PlainBar(rows)
    return _TqdmBar(tqdm(total=rows, unit="row", unit_scale=True))


class _NoBar:
    def advance(self, rows: int) -> None:
        pass

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class _TqdmBar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, rows: int) -> None:
        self._bar.update(rows)

    def __enter__(self) -> _TqdmBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


@dataclass
class _PlainBar:
    """One line on stderr, written again at most ten times a second."""

    rows: int
    done: int = 0
    written: float = 0.0

    def advance(self, rows: int) -> None:
        self.done += rows
        now = time.monotonic()
        if now - self.written >= 0.1 or self.done == self.rows:
            self.written = now
            share = self.done / self.rows if self.rows else 1.0
            filled = "#" * int(30 * share)
            sys.stderr.write(f"\r{share:4.0%} [{filled:<30}] {self.done:,}/{self.rows:,} rows")
            sys.stderr.flush()

    def __enter__(self) -> _PlainBar:
        return self

    def __exit__(self, *error: object) -> None:
        if self.written:
            sys.stderr.write("\n")
