"""Options: where they come from, what they may be, and whether they fit this machine."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_engine.program import Limits
from gradwire_server.config.option import ConfigError, flag
from gradwire_server.config.resolve import read_options, resolve, variable
from gradwire_server.config.table import OPTIONS, ServerConfig
from gradwire_server.config.texts import GIB, MIB, read_count, read_host_and_port, read_seconds, read_size

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


def test_options_win_over_the_environment_and_that_over_the_default() -> None:
    environment = {"GRADWIRE_MAX_RANK": "5", "GRADWIRE_MAX_NESTING": "6", "PATH": "/bin"}
    set_options = read_options({"max_rank": "4"}, environment)
    assert set_options == {"max_rank": 4, "max_nesting": 6}
    config = resolve(set_options, processors=2, memory=ROOMY)
    assert (config.max_rank, config.max_nesting, config.max_transforms) == (4, 6, 64)


def test_names_of_options_and_variables_follow_from_the_field() -> None:
    assert flag("max_queued_seconds") == "--max-queued-seconds"
    assert variable("max_queued_seconds") == "GRADWIRE_MAX_QUEUED_SECONDS"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GRADWIRE_WORKER", "GRADWIRE_WORKERS"),
        ("GRADWIRE_MAX_QUEUE_REQUESTS", "GRADWIRE_MAX_QUEUED_REQUESTS"),
        ("GRADWIRE_LISTEN_ADDRESS", "GRADWIRE_LISTEN"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is not an option; the nearest one is {nearest}$"):
        read_options({}, {name: "1"})


@pytest.mark.parametrize(
    "name",
    [
        "GRADWIRE_TARGET",
        "GRADWIRE_TOKEN",
        "GRADWIRE_SERVICE_HOST",
        "GRADWIRE_SERVICE_PORT",
        "GRADWIRE_SERVICE_PORT_GRPC",
        "GRADWIRE_PORT",
        "GRADWIRE_PORT_50051_TCP",
        "GRADWIRE_PORT_50051_TCP_ADDR",
        "GRADWIRE_STAGING_SERVICE_HOST",
        "GRADWIRE_STAGING_PORT_9464_TCP_PROTO",
    ],
)
def test_the_clients_variables_and_those_of_kubernetes_are_passed_over(name: str) -> None:
    assert read_options({}, {name: "tcp://10.0.0.1:50051"}) == {}


def test_no_option_takes_a_name_that_kubernetes_may_set() -> None:
    for name in OPTIONS:
        assert not re.fullmatch(r"(.*_)?(service_host|service_port.*|port|port_\d+_.*)", name)


@pytest.mark.parametrize(("text", "nbytes"), [("7", 7), ("64MiB", 64 * MIB), ("1.5 g", 3 * GIB // 2), ("2KB", 2048)])
def test_sizes(text: str, nbytes: int) -> None:
    assert read_size(text) == nbytes


@pytest.mark.parametrize(("text", "seconds"), [("1.5", 1.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), (".5s", 0.5)])
def test_times(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize("read", [read_size, read_seconds, read_count])
@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1e999", "1 2"])
def test_what_is_no_number_is_refused(read: object, text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read(text)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("given_options", "environment", "message"),
    [
        ({"max_rank": "many"}, {}, "--max-rank is 'many': expected a whole number"),
        ({}, {"GRADWIRE_TASK_TIMEOUT": "soon"}, "GRADWIRE_TASK_TIMEOUT is 'soon': expected a time such as 30s"),
        ({"log_level": "loud"}, {}, "--log-level is 'loud': expected one of debug, info, warning, error"),
    ],
)
def test_a_wrong_value_names_where_it_stands(
    given_options: dict[str, str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_options(given_options, environment)


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


@pytest.mark.parametrize(
    ("text", "parts"),
    [("h:1", ("h", 1)), (":2", ("0.0.0.0", 2)), ("[::1]:3", ("::1", 3)), ("127.0.0.1:65535", ("127.0.0.1", 65535))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert read_host_and_port(text) == parts


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


# Memory


def total(config: ServerConfig) -> int:
    """What the server may use at most, added up apart from the code under test."""
    workers = config.workers * (config.worker_memory + config.worker_arena)
    preparing = config.preparers * config.prepare_memory
    stores = config.constant_store_bytes + config.program_store_bytes
    return workers + preparing + stores + config.max_admitted_bytes


def test_on_a_large_machine_the_defaults_stand() -> None:
    config = resolve({}, processors=3, memory=ROOMY)
    assert config.workers == 3
    assert config.worker_memory == 2 * GIB
    assert config.max_admitted_bytes == 512 * MIB


def test_on_a_small_machine_what_nobody_set_is_scaled_down_to_four_fifths() -> None:
    config = resolve({}, processors=2, memory=4 * GIB)
    assert 0.79 * 4 * GIB < total(config) <= 0.8 * 4 * GIB
    assert config.worker_memory == config.prepare_memory < 2 * GIB
    assert config.max_message_bytes == 64 * MIB


def test_what_somebody_set_is_never_scaled() -> None:
    config = resolve({"worker_memory": GIB}, processors=2, memory=4 * GIB)
    assert config.worker_memory == GIB
    assert total(config) <= 0.8 * 4 * GIB


def test_what_somebody_set_and_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"80 % of the 4,096 MiB that there are is 3,277 MiB; lower --worker-memory"):
        resolve({"worker_memory": 2 * GIB}, processors=2, memory=4 * GIB)


def test_too_little_memory_for_anything_is_refused() -> None:
    with pytest.raises(ConfigError, match="lower --workers"):
        resolve({}, processors=8, memory=512 * MIB)


@given(st.integers(1, 64), st.integers(28, 45), st.sets(st.sampled_from(["worker_memory", "constant_store_bytes"])))
def test_a_configuration_fits_or_is_refused(processors: int, log_memory: int, explicit: set[str]) -> None:
    set_options = dict.fromkeys(explicit, 300 * MIB)
    try:
        config = resolve(set_options, processors=processors, memory=1 << log_memory)
    except ConfigError:
        return
    assert total(config) <= 0.8 * (1 << log_memory)
    for name, option in OPTIONS.items():
        if option.scales:
            assert option.floor <= getattr(config, name)
            assert name not in explicit or getattr(config, name) == 300 * MIB
