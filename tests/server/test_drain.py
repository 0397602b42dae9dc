"""The end of a server: health first, then nothing new, and nothing that was accepted is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.kit.server.live import GRADIENT, Client, Failed, Live, slow_program
from tests.kit.server.processes import ServerProcess
from tests.kit.server.streams import Stream, evaluate, gradient, reason_of, value_of

from gradwire.wire.responses import Evaluated
from gradwire.wire.service import SERVICE


@pytest.fixture
def live() -> Iterator[Live]:
    live = Live()
    live.client.evaluate(1.5, 2.0, program=GRADIENT)
    yield live
    live.close()


class Caller(threading.Thread):
    """One evaluation on a thread of its own."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self.outcome: Evaluated | Failed | None = None
        self.start()

    def run(self) -> None:
        try:
            self.outcome = self._client.evaluate(1.5, 2.0, program=GRADIENT)
        except Failed as failed:
            self.outcome = failed


class Drain(threading.Thread):
    """The drain of a server on a thread of its own."""

    def __init__(self, live: Live, timeout: float) -> None:
        super().__init__()
        self._live = live
        self._timeout = timeout
        self.is_done: bool | None = None
        self.start()

    def run(self) -> None:
        self.is_done = self._live.server.drain(self._timeout)


def status(live: Live, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(live.client.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60).status)


def test_what_was_accepted_is_answered_and_nothing_new_is_taken(live: Live) -> None:
    with live.workers_held():
        waiting = Caller(live.client)
        live.wait_until(lambda: live.server.dispatcher.queued_requests == 1)
        drain = Drain(live, 60.0)
        live.wait_until(lambda: live.server.admission.is_draining)
        assert status(live, SERVICE) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert status(live, "") == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(Failed) as caught:
            live.client.evaluate(1.5, 2.0, program=GRADIENT)
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
        assert "grpc-retry-pushback-ms" not in caught.value.trailers
        assert waiting.outcome is None
    waiting.join(60)
    drain.join(60)
    assert isinstance(waiting.outcome, Evaluated)
    assert drain.is_done


def test_items_that_have_not_begun_are_answered_so_and_the_stream_ends_so(live: Live) -> None:
    stream = Stream(live)
    with live.workers_held():
        stream.send(*[gradient(number, 0.5) for number in range(5)])
        live.wait_until(lambda: live.server.dispatcher.queued_requests == 5)
        drain = Drain(live, 60.0)
        answers = stream.answers(5)
        assert {reason_of(answer) for answer in answers.values()} == {"SERVER_DRAINING"}
        with pytest.raises(Failed) as caught:
            stream.answer()
        assert (caught.value.code, caught.value.reason) == ("UNAVAILABLE", "SERVER_DRAINING")
    drain.join(60)
    assert drain.is_done
    stream.close()


def test_items_that_run_are_answered(live: Live) -> None:
    slow = slow_program(60, 65_536)
    live.client.evaluate(1.0, program=slow)
    stream = Stream(live)
    stream.send(evaluate(1, 1.0, program=slow))
    live.wait_until(lambda: live.counted("gradwire_workers", state="busy") == 1)
    drain = Drain(live, 60.0)
    assert value_of(stream.answer()[1]) == 1.0
    with pytest.raises(Failed, match="SERVER_DRAINING"):
        stream.answer()
    drain.join(60)
    assert drain.is_done
    stream.close()


def test_a_drain_that_takes_too_long_ends_and_says_so(live: Live) -> None:
    with live.workers_held():
        waiting = Caller(live.client)
        live.wait_until(lambda: live.server.dispatcher.queued_requests == 1)
        held = Drain(live, 0.05)
        live.wait_until(lambda: waiting.outcome is not None or not held.is_alive())
    held.join(60)
    waiting.join(60)
    assert held.is_done is False
    assert waiting.outcome is not None


# Processes


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux_only
def test_sigterm_ends_a_busy_server_in_order() -> None:
    with ServerProcess("--listen", "127.0.0.1:0", "--http-listen", "", "--max-queued-seconds", "600") as server:
        addresses = server.ready()
        assert addresses["http"] == "-"
        client = Client(addresses["grpc"])
        slow = slow_program(30, 65_536)
        client.evaluate(1.0, program=slow)
        outcomes: list[Evaluated | Failed] = []

        def call(x: float) -> None:
            try:
                outcomes.append(client.evaluate(x, program=slow))
            except Failed as failed:
                outcomes.append(failed)

        callers = [threading.Thread(target=call, args=(float(number),)) for number in range(20)]
        for caller in callers:
            caller.start()
        while not outcomes:
            threading.Event().wait(0.005)
        children = server.children()
        assert len(children) >= 2
        server.process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(60)
        code, out, err = server.wait()
        client.close()
        assert (code, out) == (0, "")
        assert '"message": "draining: SIGTERM"' in err
        assert len(outcomes) == 20
        refused = [one for one in outcomes if isinstance(one, Failed)]
        assert {one.reason for one in refused} <= {"SERVER_DRAINING", ""}  # "" if gRPC itself was quicker
        assert {one.code for one in refused} <= {"UNAVAILABLE"}
        assert len(refused) < 20
        assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_private_server_ends_when_its_parent_does(tmp_path: Path) -> None:
    read, write = os.pipe()
    path = tmp_path / "socket"
    options = "--listen", f"unix:{path}", "--http-listen", "", "--parent-fd", str(read)
    with ServerProcess(*options, pass_fds=(read,)) as server:
        os.close(read)
        assert server.ready()["grpc"] == f"unix:{path}"
        client = Client(f"unix:{path}")
        np.testing.assert_allclose(client.evaluate(1.5, 2.0, program=GRADIENT).outputs[2], 1.5)
        client.close()
        os.close(write)
        code, _, err = server.wait()
        assert code == 0
        assert "the parent has ended" in err
        assert not path.exists()


def test_an_address_in_use_is_one_line_and_status_1(tmp_path: Path) -> None:
    taken = f"unix:{tmp_path / 'socket'}"
    with ServerProcess("--listen", taken, "--http-listen", "127.0.0.1:0") as first:
        addresses = first.ready()
        for options in (("--listen", taken, "--http-listen", ""), ("--listen", addresses["http"], "--http-listen", "")):
            code, out, err = ServerProcess(*options).wait()
            assert (code, out) == (1, "")
            assert err.count("\n") == 1
            assert "in use" in err
        code, out, err = ServerProcess("--listen", "127.0.0.1:0", "--http-listen", addresses["http"]).wait()
        assert (code, out, err.count("\n")) == (1, "", 1)
        with grpc.insecure_channel(taken) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (
                stub.Check(health_pb2.HealthCheckRequest(), timeout=60).status == health_pb2.HealthCheckResponse.SERVING
            )
        first.process.terminate()
        assert first.wait()[0] == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--listen", "nonsense"], "--listen is 'nonsense': expected HOST:PORT or unix:PATH"),
        (["--http-listen", "1:2:3"], "--http-listen is '1:2:3': expected HOST:PORT"),
        (["--max-rank", "many"], "--max-rank is 'many': expected a whole number"),
        (["--no-such-option"], "unrecognized arguments: --no-such-option"),
        (["--worker-memory", "900T"], "lower --worker-memory"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_wrong(options: list[str], text: str) -> None:
    command = [sys.executable, "-m", "gradwire_server", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert text in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
