"""A preparing process: programs in, plans out. The front starts it:
`python -m gradwire_server.child.preparer`.

Bytes from strangers are decoded, verified, transformed and optimised here and nowhere else, in a process that can be
ended at its limits of memory and time. It keeps nothing between two programs, runs nothing, and never loads grpc.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence

from gradwire.wire.programs import decode_program, encode_graph
from gradwire_engine.errors import EngineError
from gradwire_engine.prepare import prepare
from gradwire_engine.program import Layout, Limits
from gradwire_server.child.limits import return_free_memory
from gradwire_server.child.start import enter, say_ready, serve_until_the_end
from gradwire_server.ipc.failures import Failure, limit_details
from gradwire_server.ipc.frames import Channel, ChannelClosed, Frame, Kind
from gradwire_server.ipc.messages import Bytes
from gradwire_server.ipc.preparation import pack_prepared, unpack_request

Prepare = Callable[[bytes, Layout, Limits], list[Bytes]]
"""From a serialized program, a layout and limits to a PREPARED payload; EngineError where it is refused."""


def prepare_program(data: bytes, layout: Layout, limits: Limits) -> list[Bytes]:
    """The whole road: decode and verify, transform, batch and optimise, bound the cost, encode the plan."""
    prepared = prepare(decode_program(data, limits), layout, limits)
    return pack_prepared(
        plan_id=prepared.graph.hash,
        plan=encode_graph(prepared.graph),
        mode=prepared.mode,
        cost=prepared.cost,
        inputs=prepared.inputs,
        outputs=prepared.outputs,
    )


def _answer(channel: Channel, frame: Frame, prepare: Prepare, limits: Limits, memory_bytes: int) -> None:
    started = time.perf_counter_ns()
    outcome = _attempt(frame, prepare, limits)
    if isinstance(outcome, list):
        channel.send(Kind.PREPARED, time.perf_counter_ns() - started, sequence=frame.sequence, payload=outcome)
        return
    failure = outcome or Failure(
        reason="PREPARE_MEMORY_LIMIT",
        message=f"preparing the program needs more than the {memory_bytes:,} bytes it may use; send a smaller one",
        details=limit_details(name="prepare-memory", limit=memory_bytes, unit="bytes"),
    )
    channel.send(Kind.FAILED, sequence=frame.sequence, payload=failure.pack())


def _attempt(frame: Frame, prepare: Prepare, limits: Limits) -> list[Bytes] | Failure | None:
    """The payload of the answer, or why there is none; None where the memory did not suffice.

    While MemoryError is handled its traceback holds what filled the memory: so this only returns, which frees it.
    """
    try:
        return prepare(*unpack_request(frame.payload), limits)
    except MemoryError:
        return None
    except EngineError as error:
        return Failure.of(error)
    except Exception:
        return Failure.internal(traceback.format_exc())


def serve(arguments: Sequence[str], prepare: Prepare) -> None:
    """Be a preparer that prepares in this way until the front ends it."""
    channel, (memory, limits_text) = enter(arguments)
    memory_bytes, limits = int(memory), Limits(**json.loads(limits_text))

    def answer_all() -> None:
        gc.disable()  # a program is millions of objects and no garbage; collected between two programs instead
        while True:
            try:
                frame = channel.receive()
            except ChannelClosed:
                return
            _answer(channel, frame, prepare, limits, memory_bytes)
            del frame
            gc.collect()
            return_free_memory()

    say_ready(channel, memory_bytes)
    serve_until_the_end(answer_all)


if __name__ == "__main__":
    serve(sys.argv[1:], prepare_program)
