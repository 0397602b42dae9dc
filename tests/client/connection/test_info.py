"""What a service says of itself, also one that is newer than this client."""

from __future__ import annotations

import pytest

import gradwire as gw
from gradwire.connection.info import read_info
from gradwire.v1 import service_pb2


def test_an_executor_that_this_client_does_not_know_has_its_number() -> None:
    response = service_pb2.GetServerInfoResponse(version="9.9", executors=[1, 2, 77])
    assert read_info(response.SerializeToString()).executors == ("reference", "native", "77")


def test_an_answer_that_does_not_parse_is_named() -> None:
    with pytest.raises(gw.RequestError, match="is not a GetServerInfoResponse") as caught:
        read_info(b"\xff")
    assert caught.value.reason == "MALFORMED_RESPONSE"
