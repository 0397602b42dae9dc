"""The command `gradwire serve` without a server: its help, and the configuration that it makes."""

from __future__ import annotations

import pytest

from gradwire_server.cli import USAGE, configuration, main
from gradwire_server.config.option import flag
from gradwire_server.config.resolve import variable
from gradwire_server.config.table import OPTIONS


def test_help_lists_every_option_with_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, option in OPTIONS.items():
        assert f"{flag(name)} VALUE {option.help}" in text
        assert f"({variable(name)})" in text
    assert "requests queued [1,000 requests] (GRADWIRE_MAX_QUEUED_REQUESTS)" in text


def test_an_option_wins_over_its_variable() -> None:
    arguments = {"max_rank": "4", "max_nesting": None, "worker_memory": "64MiB", "prepare_memory": "128MiB"}
    config = configuration(arguments, {"GRADWIRE_MAX_RANK": "5", "GRADWIRE_MAX_NESTING": "6"})
    assert (config.max_rank, config.max_nesting) == (4, 6)
    assert config.workers >= 1


def test_what_is_wrong_is_one_line_and_status_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADWIRE_MAX_RANKS", "4")
    assert main([]) == USAGE
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        "gradwire serve: error: the environment variable GRADWIRE_MAX_RANKS is not an option; "
        "the nearest one is GRADWIRE_MAX_RANK\n"
    )
