"""The names of the contract in code are those of the contract."""

from __future__ import annotations

import pytest

from gradwire.v1 import service_pb2, service_pb2_grpc
from gradwire.wire import responses
from gradwire.wire.service import EXECUTOR_NAMES, EXECUTORS, SERVICE, method_path


def test_the_service_is_the_one_that_the_generated_code_calls() -> None:
    called: list[str] = []

    class Channel:
        def __getattr__(self, kind: str) -> object:
            return lambda path, *args, **options: called.append(path)

    service_pb2_grpc.GradientServiceStub(Channel())  # type: ignore[arg-type]
    assert SERVICE == "gradwire.v1.GradientService"
    calls = [method.name for method in service_pb2.DESCRIPTOR.services_by_name["GradientService"].methods]
    assert sorted(map(method_path, calls)) == sorted(called)


def test_every_executor_of_the_contract_has_a_name_in_code() -> None:
    spelled = {f"EXECUTOR_{name.upper() or 'UNSPECIFIED'}": number for name, number in EXECUTORS.items()}
    assert spelled == dict(service_pb2.Executor.items())
    assert {EXECUTORS[name] for name in EXECUTOR_NAMES.values()} == set(EXECUTOR_NAMES)
    assert responses.EXECUTORS is EXECUTORS
    with pytest.raises(TypeError):
        EXECUTORS["other"] = 3  # type: ignore[index]
