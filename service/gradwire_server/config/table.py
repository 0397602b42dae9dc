"""Every option of the server, in one table: a record of `option` each, with its default, unit, help and bounds.

A field of `ServerConfig` is an option: `max_queued_requests` is ``--max-queued-requests`` on the command line and
``GRADWIRE_MAX_QUEUED_REQUESTS`` in the environment. Errors and `GetServerInfo` call limits by the option's name. Sizes
are "64MiB" or a number of bytes, times "500ms", "30s", "2m" or a number of seconds.

To add an option, add its record here, and the line that enforces it where it is enforced: constructors take the
configuration. The defaults of what a program may be are the engine's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gradwire_engine.program import Limits
from gradwire_server.config.option import Limit, Option, count, flag, number, options_of, seconds, size, text
from gradwire_server.config.texts import GIB, MIB, check_address, check_http_address, read_level

_PROGRAM: Final = Limits()


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """The server's options. Immutable; sizes in bytes, times in seconds."""

    listen: str = text(
        "0.0.0.0:50051", "where to serve gRPC: HOST:PORT (port 0: any free one) or unix:PATH", check=check_address
    )
    http_listen: str = text(
        "0.0.0.0:9464",
        "where to serve metrics and probes over HTTP: HOST:PORT; empty: nowhere",
        check=check_http_address,
    )
    workers: int = count(
        1, "workers", "worker processes; default: the processors of the cgroup", of_machine="processors"
    )
    log_level: str = text("info", "debug, info, warning or error", read=read_level)

    max_message_bytes: int = size(64 * MIB, "the largest message, both ways", floor=64 << 10)
    max_program_bytes: int = size(_PROGRAM.bytes, "the largest serialized program")
    max_program_nodes: int = count(_PROGRAM.nodes, "nodes", "nodes of a program, after its transforms")
    max_rank: int = count(_PROGRAM.rank, "axes", "axes of a tensor")
    max_nesting: int = count(_PROGRAM.nesting, "levels", "how deep subgraphs may nest", floor=0)
    max_transforms: int = count(_PROGRAM.transforms, "transforms", "transforms of a program", floor=0)

    snapshot_bytes: int = size(
        _PROGRAM.snapshot_bytes,
        "carries that the loops of one example keep for reverse mode, where the program does not say",
    )

    prepare_timeout: float = seconds(30.0, "preparing one program", floor=0.01)
    prepare_memory: int = size(
        2 * GIB, "memory for preparing one program", floor=128 * MIB, scales=True, times="preparers"
    )
    preparers: int = count(2, "processes", "programs prepared at once")
    waiting_programs: int = count(64, "programs", "programs that wait to be prepared")
    waiting_requests: int = count(256, "requests", "requests that wait for programs to be prepared")
    refusal_seconds: float = seconds(60.0, "how long the refusal of a program is remembered")

    task_timeout: float = seconds(30.0, "one task on a worker", floor=0.01)
    worker_memory: int = size(2 * GIB, "memory of each worker for a task", floor=64 * MIB, scales=True, times="workers")
    max_request_flops: float = number(
        1e13, "floating-point operations", "bound on the operations of one request", floor=1, is_limit=True
    )
    max_explain_values: int = count(1000, "values", "values in the trace table of an Explain")

    max_admitted_bytes: int = size(512 * MIB, "tensors admitted and not yet answered", floor=16 * MIB, scales=True)
    max_queued_requests: int = count(1000, "requests", "requests queued")
    max_queued_seconds: float = seconds(2.0, "predicted seconds of work queued, per worker", floor=0.001)
    default_timeout: float = seconds(60.0, "requests without a deadline", floor=0.01)
    max_streams: int = count(64, "streams", "EvaluateStream calls open at once")
    max_stream_items: int = count(64, "items", "unanswered items of a stream")
    max_stream_bytes: int = size(64 * MIB, "unanswered items of a stream")

    constant_store_bytes: int = size(1 * GIB, "constants kept for clients", floor=16 * MIB, scales=True)
    max_constants: int = count(2000, "constants", "constants kept for clients")
    program_store_bytes: int = size(128 * MIB, "prepared programs kept", floor=8 * MIB, scales=True)
    max_programs: int = count(1000, "programs", "prepared programs kept")
    tenant_share: float = number(
        0.5, "of each store", "how much of the stores one tenant may fill", floor=0.01, ceiling=1, is_limit=True
    )

    max_queue_delay: float = seconds(0.0, "how long a request may wait for others to share its batch")
    max_batch_bytes: int = size(64 * MIB, "inputs and outputs of a batch of several requests")
    max_batch_seconds: float = seconds(0.1, "predicted seconds of a batch of several requests")
    short_seconds: float = seconds(0.05, "predicted seconds below which work counts as short", is_limit=False)
    flops_per_second: float = number(
        1e9, "operations per second", "what a worker is expected to do until measured", floor=1
    )

    drain_timeout: float = seconds(40.0, "how long running and queued work may take after SIGTERM")
    max_connection_age: float = seconds(600.0, "after which clients are asked to connect anew", floor=1)

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            option.verify(name, getattr(self, name))

    def limit(self, name: str) -> Limit:
        """A limit by the name of its field."""
        return Limit(name.replace("_", "-"), getattr(self, name), OPTIONS[name].unit, flag(name))

    def limits(self) -> list[Limit]:
        """Every limit, in the order of the table."""
        return [self.limit(name) for name, option in OPTIONS.items() if option.is_limit]

    @property
    def program_limits(self) -> Limits:
        """What a program may be, as the engine takes it."""
        return Limits(
            bytes=self.max_program_bytes,
            nodes=self.max_program_nodes,
            rank=self.max_rank,
            nesting=self.max_nesting,
            transforms=self.max_transforms,
            snapshot_bytes=self.snapshot_bytes,
        )

    @property
    def worker_arena(self) -> int:
        """Bytes for a task's inputs and outputs: a message each way, or a batch, and what alignment costs."""
        return max(self.max_batch_bytes, 2 * self.max_message_bytes) + 2 * MIB


OPTIONS: Final[Mapping[str, Option]] = options_of(ServerConfig)
"""By the name of the field, in order."""
