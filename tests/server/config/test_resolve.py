"""Options: where they come from, and whether they fit this machine."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradwire_server.config.option import ConfigError, flag
from gradwire_server.config.resolve import read_options, resolve, variable
from gradwire_server.config.table import OPTIONS, ServerConfig
from gradwire_server.config.texts import GIB, MIB

ROOMY = 1 << 50


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
