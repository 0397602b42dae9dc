"""Options as records: what each says of itself, what it may be, and the limits that follow."""

from __future__ import annotations

import dataclasses
import re

import pytest

from gradwire_engine.program import Limits
from gradwire_server.config.option import ConfigError
from gradwire_server.config.resolve import read_options, resolve, variable
from gradwire_server.config.table import OPTIONS, ServerConfig
from gradwire_server.config.texts import GIB, MIB

ROOMY = 1 << 50


def test_every_field_is_an_option_with_help_and_a_unit_if_it_is_a_number() -> None:
    assert list(OPTIONS) == [field.name for field in dataclasses.fields(ServerConfig)]
    for name, option in OPTIONS.items():
        assert option.help, name
        assert option.unit or isinstance(getattr(ServerConfig(), name), str), name


def test_the_limits_are_those_that_the_documentation_promises() -> None:
    limits = {limit.name: limit.value for limit in ServerConfig().limits()}
    promised = {
        "max-message-bytes": 64 * MIB,
        "max-program-bytes": 8 * MIB,
        "max-program-nodes": 200_000,
        "max-rank": 16,
        "max-nesting": 32,
        "max-transforms": 64,
        "prepare-timeout": 30,
        "prepare-memory": 2 * GIB,
        "preparers": 2,
        "waiting-programs": 64,
        "waiting-requests": 256,
        "task-timeout": 30,
        "worker-memory": 2 * GIB,
        "max-admitted-bytes": 512 * MIB,
        "max-queued-requests": 1000,
        "max-queued-seconds": 2,
        "default-timeout": 60,
        "max-stream-items": 64,
        "max-stream-bytes": 64 * MIB,
        "max-streams": 64,
        "max-explain-values": 1000,
        "constant-store-bytes": GIB,
        "max-programs": 1000,
        "tenant-share": 0.5,
    }
    assert {name: limits[name] for name in promised} == promised


def test_a_limit_names_its_setting() -> None:
    limit = ServerConfig(max_queued_requests=7).limit("max_queued_requests")
    assert str(limit) == "max-queued-requests is 7 requests (set by --max-queued-requests)"
    assert limit.details(8) == {
        "name": "max-queued-requests",
        "limit": "7",
        "unit": "requests",
        "value": "8",
        "setting": "--max-queued-requests",
    }


def test_values_outside_of_their_bounds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^--workers is 0; it must be at least 1 workers$"):
        ServerConfig(workers=0)
    with pytest.raises(ConfigError, match=r"^--tenant-share is 1.5; it must be at most 1$"):
        ServerConfig(tenant_share=1.5)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("listen", "nonsense", "--listen is 'nonsense': expected HOST:PORT or unix:PATH"),
        ("listen", "host:70000", "--listen is 'host:70000': expected HOST:PORT or unix:PATH"),
        ("http_listen", "unix:/x", "--http-listen is 'unix:/x': expected HOST:PORT"),
        ("http_listen", "1:2:3", "--http-listen is '1:2:3': expected HOST:PORT"),
    ],
)
def test_an_address_of_another_form_is_refused_wherever_it_comes_from(option: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        ServerConfig(**{option: text})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        resolve(read_options({}, {variable(option): text}), processors=1, memory=ROOMY)


@pytest.mark.parametrize("listen", ["unix:/run/gradwire", "[::1]:50051", ":0", "localhost:50051"])
def test_an_address_may_be_of_any_of_these_forms(listen: str) -> None:
    assert ServerConfig(listen=listen, http_listen="").listen == listen


def test_the_record_of_an_option_names_only_options_that_exist() -> None:
    assert {option.times for option in OPTIONS.values()} - {""} <= set(OPTIONS)
    assert {name for name, option in OPTIONS.items() if option.times} <= {
        name for name, option in OPTIONS.items() if option.scales
    }


def test_the_engine_gets_the_limits_of_programs_and_has_the_same_defaults() -> None:
    assert ServerConfig().program_limits == Limits()
    limits = ServerConfig(max_program_bytes=1, max_program_nodes=2, max_rank=3, max_nesting=4, max_transforms=5)
    assert limits.program_limits == Limits(bytes=1, nodes=2, rank=3, nesting=4, transforms=5)


def test_help_shows_the_default_as_people_write_it() -> None:
    defaults = ServerConfig()
    assert OPTIONS["max_message_bytes"].shown(defaults.max_message_bytes) == "the largest message, both ways [64MiB]"
    assert OPTIONS["max_request_flops"].shown(defaults.max_request_flops).endswith("[1e+13 floating-point operations]")
    assert OPTIONS["max_queued_requests"].shown(defaults.max_queued_requests) == "requests queued [1,000 requests]"
    assert "[" not in OPTIONS["workers"].shown(defaults.workers)
