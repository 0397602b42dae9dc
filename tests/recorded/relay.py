"""What stands between a client and a service: a service of one's own, and a relay that writes down what passes.

The service is started by the public command, with every limit that depends on the machine set, and small stores. The
relay serves the same methods as bytes, and asks its `peer` for the answers: a live service, or a recording.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from tests.recorded.cases import environment
from tests.recorded.exchanges import SERVICE, STREAM, Answer, Exchange, Pairs, Sent, without_time

from gradwire.v1 import service_pb2

COMMAND: Final = str(Path(sysconfig.get_path("scripts")) / "gradwire")
_OPTIONS: Final = {
    "workers": "1",
    "preparers": "1",
    "worker-memory": "256MiB",
    "prepare-memory": "256MiB",
    "max-message-bytes": "1MiB",
    "max-batch-bytes": "4MiB",
    "max-admitted-bytes": "64MiB",
    "max-program-bytes": "256KiB",
    "max-program-nodes": "5000",
    "max-transforms": "8",
    "max-nesting": "6",
    "max-request-flops": "100000000",
    "max-explain-values": "40",
    "constant-store-bytes": "16MiB",
    "max-constants": "16",
    "program-store-bytes": "8MiB",
    "max-programs": "16",
    "drain-timeout": "1s",
    "log-level": "warning",
}
_READY: Final = re.compile(r"^gradwire \S+ ready grpc=(\S+) http=(\S+)$")
_MESSAGE_BYTES: Final = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
_SECONDS: Final = 60.0
_AT_ONCE: Final = 4
_STREAMS: Final = (STREAM, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")


@contextlib.contextmanager
def service(http_listen: str = "") -> Iterator[tuple[str, str]]:
    """A running service: its address, and that of its HTTP port."""
    read, write = os.pipe()
    with (
        tempfile.TemporaryDirectory(prefix="gradwire-") as folder,
        open(f"{folder}/log", "w+", encoding="utf-8") as log,
    ):
        options = [part for name, value in _OPTIONS.items() for part in (f"--{name}", value)]
        address = f"unix:{folder}/s"
        command = [
            COMMAND,
            "serve",
            "--listen",
            address,
            "--http-listen",
            http_listen,
            "--parent-fd",
            str(read),
            *options,
        ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
            pass_fds=[read], env=environment(),
        ) as process:  # fmt: skip
            os.close(read)
            try:
                assert process.stdout is not None
                ready = _READY.match(process.stdout.readline())
                if ready is None:
                    log.seek(0)
                    raise RuntimeError(f"the service does not start: {log.read()}")
                yield ready[1], ready[2]
            finally:
                os.close(write)  # it ends with its parent's end of the pipe
                process.wait(_SECONDS)


class Peer(Protocol):
    """Whoever answers."""

    def answer(self, sent: Sent) -> Answer: ...


class Live:
    """A service, called with bytes."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.insecure_channel(target, options=[*_MESSAGE_BYTES, ("grpc.use_local_subchannel_pool", 1)])

    def answer(self, sent: Sent) -> Answer:
        """What it says, without what time makes."""
        metadata: Any = sent.metadata or None
        if sent.method in _STREAMS:
            stream = self._channel.stream_stream(sent.path)(iter(sent.requests), timeout=_SECONDS, metadata=metadata)
            responses = []
            try:
                responses.extend(stream)
            except grpc.RpcError as error:
                return without_time(sent, _failure(error, responses))
            return without_time(sent, Answer(tuple(responses), trailers=_pairs(stream.trailing_metadata())))
        (request,) = sent.requests
        try:
            response, call = self._channel.unary_unary(sent.path).with_call(
                request, timeout=_SECONDS, metadata=metadata
            )
        except grpc.RpcError as error:
            return without_time(sent, _failure(error, ()))
        return without_time(sent, Answer((response,), trailers=_pairs(call.trailing_metadata())))

    def answers(self, calls: Sequence[Sent], *, at_once: bool = False) -> list[Answer]:
        """What it says to each; with `at_once`, a few are under way together.

        Calls of one program are never: their rows might be merged, and results of matrices depend on how many they are.
        """
        requests = [service_pb2.EvaluateRequest.FromString(one.requests[0]) for one in calls if at_once]
        if len({one.program for one in requests}) < len(calls):
            return [self.answer(sent) for sent in calls]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            return list(threads.map(self.answer, calls))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _pairs(metadata: Any) -> Pairs:
    return tuple([(one.key, one.value) for one in metadata or ()])


def _failure(error: Any, responses: Sequence[bytes]) -> Answer:
    return Answer(tuple(responses), error.code().name, error.details(), _pairs(error.trailing_metadata()))


class Recorded:
    """A recording as a service: each call gets what was answered to it; one that was not recorded fails.

    Calls come in the recorded order; with `any_order`, as often as they were recorded.
    """

    def __init__(self, exchanges: Sequence[Exchange], *, any_order: bool = False) -> None:
        self._left = list(exchanges)
        self._any_order = any_order
        self._lock = threading.Lock()

    def answer(self, sent: Sent) -> Answer:
        """What was answered to the same bytes."""
        with self._lock:
            for place, one in enumerate(self._left if self._any_order else self._left[:1]):
                if one.sent == sent:
                    return self._left.pop(place).answer
        return Answer(code="DATA_LOSS", message="this call is not recorded")


@dataclass(frozen=True)
class _Ended(grpc.Status):
    code: grpc.StatusCode
    details: str
    trailing_metadata: Pairs


class Relay(grpc.GenericRpcHandler):
    """A service for others, whose answers are its peer's; `passed` is what came by since it was connected to that."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.passed: list[Exchange] = []
        self._peer: Peer = Recorded(())

    def connect(self, peer: Peer) -> None:
        """From now on, ask this peer."""
        self._peer, self.passed = peer, []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """The handler of any method."""
        method = handler_call_details.method.removeprefix(SERVICE)

        def answered(request: bytes, context: grpc.ServicerContext) -> bytes:
            own = tuple([one for one in _pairs(context.invocation_metadata()) if one[0] != "user-agent"])
            sent = Sent(method, (request,), own)
            answer = self._peer.answer(sent)
            self.passed.append(Exchange(sent, answer))
            if answer.code:
                context.abort_with_status(_Ended(grpc.StatusCode[answer.code], answer.message, answer.trailers))
            context.set_trailing_metadata(answer.trailers)
            return answer.responses[0]

        return grpc.unary_unary_rpc_method_handler(answered)


@contextlib.contextmanager
def relay() -> Iterator[Relay]:
    """A relay that serves."""
    with tempfile.TemporaryDirectory(prefix="gradwire-") as folder, ThreadPoolExecutor(16) as threads:
        found = Relay(f"unix:{folder}/s")
        server = grpc.server(threads, handlers=[found], options=_MESSAGE_BYTES)
        server.add_insecure_port(found.address)
        server.start()
        try:
            yield found
        finally:
            server.stop(0).wait()
