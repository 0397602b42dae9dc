"""Private services, forks, threads and pickled clients, each in a process of its own, against a real service."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """
import os, pickle, signal, sys, threading, time
import numpy as np
import gradwire as gw

def f(x):
    return np.sum(np.sin(x))

def slow(x):
    for _ in range(200):
        x = np.sin(x)
    return np.sum(x)

def in_flight(client):
    'One slow call after another, in another thread; returns when the service has one. What is returned ends them.'
    enough = threading.Event()

    def call():
        while not enough.is_set():
            gw.remote(slow)(np.ones(100_000))

    thread = threading.Thread(target=call)
    thread.start()
    while client.info().busy_workers == 0:
        pass
    return lambda: (enough.set(), thread.join())

def in_child(action):
    'Run the action in a forked child; its exit status.'
    child = os.fork()
    if child == 0:
        try:
            action()
            status = 0
        except BaseException as error:
            print(type(error).__name__, getattr(error, "reason", ""), error, flush=True)
            status = 1
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def run(script: str, **environment: str) -> str:
    """The script's output; it must end well and in time."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("GRADWIRE_", "GRPC_"))}
    finished = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PRELUDE + textwrap.dedent(script)],
        env=inherited | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_without_a_target_the_first_call_starts_a_service_that_ends_with_the_process() -> None:
    said = run(
        """
        assert gw.grad(f)(0.0) == 1.0
        from gradwire.connection.client import current_client
        client = current_client()
        print(client._service._process.pid, client._service._folder, oct(os.stat(client._service._folder).st_mode))
        """
    )
    pid, folder, mode = said.split()
    assert mode.endswith("700")
    assert not Path(folder).exists()
    assert not is_running(int(pid))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_private_service_ends_with_its_client() -> None:
    run(
        """
        with gw.connect() as client:
            service = client._service
            assert gw.grad(f)(0.0) == 1.0
        assert service._process.poll() == 0
        """
    )


def test_a_private_service_ends_when_its_owner_is_killed_though_a_forked_child_lives() -> None:
    said = run(
        """
        read, write = os.pipe()
        owner = os.fork()
        if owner == 0:
            client = gw.connect()
            assert gw.grad(f)(0.0) == 1.0
            child = os.fork()
            if child == 0:
                os.close(write)
                os.read(read, 1)  # until the test ends
                os._exit(0)
            os.write(write, f"{client._service._process.pid}".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        service = int(os.read(read, 100))
        os.waitpid(owner, 0)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                os.kill(service, 0)
            except ProcessLookupError:
                print("ended")
                break
        """
    )
    assert said == "ended\n"


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "with a call in flight"])
def test_a_client_survives_a_fork(busy: bool) -> None:
    run(
        f"""
        with gw.connect() as client:
            assert gw.grad(f)(0.0) == 1.0
            end = in_flight(client) if {busy} else lambda: None

            def work():
                assert gw.grad(f)(0.0) == 1.0
                assert gw.grad(f).submit(0.0).result(30) == 1.0
                assert client.info().workers > 0

            assert in_child(work) == 0
            assert in_child(lambda: in_child(work)) == 0
            end()
            assert gw.grad(f)(0.0) == 1.0
        """
    )


def test_a_process_forked_before_the_first_call() -> None:
    run(
        """
        with gw.connect() as client:
            assert in_child(lambda: gw.grad(f)(0.0)) == 0
            assert gw.grad(f)(0.0) == 1.0
        """
    )


def test_a_fork_that_grpc_cannot_survive_is_a_typed_error() -> None:
    run(
        """
        with gw.connect() as client:
            assert gw.grad(f)(0.0) == 1.0
            def work():
                try:
                    gw.grad(f)(0.0)
                except gw.ServiceError as error:
                    assert error.reason == "FORK_NOT_SUPPORTED"
                    assert "GRPC_ENABLE_FORK_SUPPORT" in str(error)
                else:
                    raise AssertionError("no error")
            assert in_child(work) == 0
            assert gw.grad(f)(0.0) == 1.0
        """,
        GRPC_ENABLE_FORK_SUPPORT="0",
    )


def test_a_pool_of_forked_processes() -> None:
    run(
        """
        import multiprocessing
        with gw.connect() as client:
            assert gw.grad(f)(0.0) == 1.0
            with multiprocessing.get_context("fork").Pool(3) as pool:
                found = pool.map(gw.grad(f), [np.full(2, float(i)) for i in range(12)])
            assert all(np.allclose(one, np.cos(i)) for i, one in enumerate(found))
        """
    )


def test_a_client_can_be_pickled() -> None:
    run(
        """
        with gw.connect() as client:
            copy = pickle.loads(pickle.dumps(client))
            with copy:
                assert gw.grad(f)(0.0) == 1.0
            assert gw.grad(f)(0.0) == 1.0  # the copy did not own the service
        """
    )


def test_a_private_service_that_died_is_named_and_the_default_one_replaced() -> None:
    run(
        """
        assert gw.grad(f)(0.0) == 1.0
        from gradwire.connection.client import current_client
        first = current_client()
        first._service._process.kill()
        first._service._process.wait()
        assert gw.grad(f)(0.0) == 1.0
        assert current_client() is not first
        with gw.connect() as mine:
            mine._service._process.kill()
            mine._service._process.wait()
            try:
                gw.grad(f)(0.0)
            except (gw.ServiceError, gw.UnavailableError) as error:
                assert error.reason in ("SERVICE_ENDED", "UNREACHABLE"), error.reason
            else:
                raise AssertionError("no error")
        """
    )


def test_many_threads_share_a_client() -> None:
    run(
        """
        with gw.connect() as client:
            wrong = []
            def work(i):
                for j in range(10):
                    x = np.full(3, float(10 * i + j))
                    if not np.allclose(gw.grad(f)(x), np.cos(x)):
                        wrong.append(i)
            threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert not wrong
        """
    )
