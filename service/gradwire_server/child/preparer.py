"""A preparer: programs in, plans out. The front starts it: `python -m gradwire_server.child.preparer`.

Bytes from strangers are decoded, verified, transformed and optimised here and nowhere else, in a process that can be
ended at its limits of memory and time. It keeps nothing between two programs, runs nothing, and never loads grpc.
"""

from __future__ import annotations

import gc
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
from gradwire_server.ipc.frames import Channel, ChannelClosed, Frame
from gradwire_server.ipc.messages import OutOfMemory, Prepare, PreparedProgram, PreparerSetup, read, send
from gradwire_server.refusal import Refusal, from_engine, internal

PrepareProgram = Callable[[bytes, Layout, Limits], PreparedProgram]
"""From a serialized program, a layout and limits to what is known of it; EngineError where it is refused."""


def prepare_program(data: bytes, layout: Layout, limits: Limits) -> PreparedProgram:
    """The whole road: decode and verify, transform, batch and optimise, bound the cost, encode the plan."""
    started = time.perf_counter()
    prepared = prepare(decode_program(data, limits), layout, limits)
    return PreparedProgram(
        plan_id=prepared.graph.hash,
        plan=encode_graph(prepared.graph),
        mode=prepared.mode,
        cost=prepared.cost,
        inputs=prepared.inputs,
        outputs=prepared.outputs,
        prepare_seconds=time.perf_counter() - started,
    )


def _answer(channel: Channel, frame: Frame, prepare: PrepareProgram, limits: Limits) -> None:
    request = read(frame)
    if not isinstance(request, Prepare):
        raise ChannelClosed(f"unexpected {type(request).__name__}")
    send(channel, _attempt(prepare, request, limits) or OutOfMemory(), sequence=frame.sequence)


def _attempt(prepare: PrepareProgram, request: Prepare, limits: Limits) -> PreparedProgram | Refusal | None:
    """What to answer; None where the memory did not suffice.

    While MemoryError is handled its traceback holds what filled the memory: so this only returns, which frees it.
    """
    try:
        return prepare(request.program, request.layout, limits)
    except MemoryError:
        return None
    except EngineError as error:
        return from_engine(error)
    except Exception:
        return internal(traceback.format_exc())


def serve(arguments: Sequence[str], prepare: PrepareProgram) -> None:
    """Be a preparer that prepares in this way until the front ends it."""
    channel, setup = enter(arguments, PreparerSetup)

    def answer_all() -> None:
        gc.disable()  # a program is millions of objects and no garbage; collected between two programs instead
        while True:
            try:
                frame = channel.receive()
            except ChannelClosed:
                return
            _answer(channel, frame, prepare, setup.program_limits)
            del frame
            gc.collect()
            return_free_memory()

    say_ready(channel, setup.memory_bytes)
    serve_until_the_end(answer_all)


if __name__ == "__main__":
    serve(sys.argv[1:], prepare_program)
