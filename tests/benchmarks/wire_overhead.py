"""What a gradient costs beyond the wire: a call of the SDK against a bare grpcio echo of the same bytes.

Both servers are processes of their own on Unix sockets, the echo with the server kind that the service uses. The calls
are interleaved, so both see the same machine. "Echo" sends as many bytes as the gradient's request, and gets as many
back as its response.

    python tests/benchmarks/wire_overhead.py [--calls 2000]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np

import gradwire as gw

METHOD = "/benchmark.Echo/Echo"
MESSAGE_BYTES = 64 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
]


def serve_echo(address: str) -> None:
    """Answer each request with as many bytes as its first 8 say, until standard input closes."""

    def echo(request: bytes, context: grpc.ServicerContext) -> bytes:
        return answers.setdefault(size := int.from_bytes(request[:8], "little"), bytes(size))

    answers: dict[int, bytes] = {}
    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("benchmark.Echo", handlers)])
    server.add_insecure_port(address)
    server.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop(None)


def function(x: float, y: float) -> float:
    """The first worked example."""
    return np.sin(x) + x * y  # type: ignore[no-any-return]


def median_ms(times: list[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(times) * 1e3


def compare(name: str, gradient: Callable[[], object], echo: Callable[[bytes], bytes], calls: int) -> None:
    """Interleave both, and print medians and their ratio."""
    with gw.reports() as seen:
        gradient()
    sent, received = seen[-1].request_bytes, seen[-1].response_bytes
    payload = received.to_bytes(8, "little") + bytes(max(sent - 8, 0))
    ours: list[float] = []
    bare: list[float] = []
    for round_ in range(calls + calls // 10):
        start = time.perf_counter()
        echo(payload)
        middle = time.perf_counter()
        gradient()
        end = time.perf_counter()
        if round_ >= calls // 10:  # the first tenth warms up
            bare.append(middle - start)
            ours.append(end - middle)
    ratio = median_ms(ours) / median_ms(bare)
    sizes = f"{sent:>11,} {received:>11,}"
    print(f"{name:<28}{sizes}{median_ms(bare):>10.3f}{median_ms(ours):>13.3f}{ratio:>8.2f}")


def main() -> None:
    """Start both servers, run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=2000, help="timed calls of the small gradient")
    parser.add_argument("--serve-echo", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_echo:
        serve_echo(options.serve_echo)
        return
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'echo'}"
        command = [sys.executable, __file__, "--serve-echo", address]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            server.stdout.readline()
            with grpc.insecure_channel(address, options=OPTIONS) as channel, gw.connect():
                echo = channel.unary_unary(METHOD)
                print(f"{'':<28}{'sent':>11} {'received':>11}{'echo ms':>10}{'gradient ms':>13}{'ratio':>8}")
                both = gw.grad(function, argnums=(0, 1))
                compare("one gradient", lambda: both(1.5, 2.0), echo, options.calls)
                x, y = np.random.default_rng(0).normal(size=(2, 65_536))
                batched = gw.vmap(both)
                compare("65,536 gradients (1 MB)", lambda: batched(x, y), echo, max(options.calls // 5, 20))
            server.stdin.close()


if __name__ == "__main__":
    main()
