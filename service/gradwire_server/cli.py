"""The command `gradwire serve`: options from the command line and the environment, a server, and its end.

Exit status: 0 the server ended in order, 1 it could not start or did not finish its work in time, 2 wrong usage. Every
mistake that can be foreseen is one line on stderr; stdout has one line, once requests are taken.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from gradwire._version import __version__
from gradwire_server.app import Server
from gradwire_server.config.option import ConfigError, flag
from gradwire_server.config.resolve import read_options, resolve, variable
from gradwire_server.config.table import OPTIONS, ServerConfig
from gradwire_server.machine import available_memory, available_processors, raise_descriptor_limit
from gradwire_server.observe.logs import set_up
from gradwire_server.rpc.addresses import StartError
from gradwire_server.stopping import Stop

DONE, FAILED, USAGE = 0, 1, 2

_ORPHAN_SECONDS: Final = 1.0  # how long work may take when the parent that wanted it is gone

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """`gradwire serve`: serve until SIGTERM, SIGINT or the end of the parent; the exit status."""
    arguments = vars(_parser().parse_args(argv))
    parent = arguments.pop("parent_fd")
    try:
        config = configuration(arguments, os.environ)
    except ConfigError as error:
        return _complain(str(error), USAGE)
    return _serve(config, parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gradwire serve",
        description="Serve gradients over gRPC. Every option has an environment variable; options win over them.",
        allow_abbrev=False,
    )
    defaults = ServerConfig()
    for name, option in OPTIONS.items():
        text = f"{option.shown(getattr(defaults, name))} ({variable(name)})"
        parser.add_argument(flag(name), dest=name, metavar="VALUE", help=text.replace("%", "%%"))
    parser.add_argument("--parent-fd", type=int, metavar="FD", help="end when this inherited descriptor is closed")
    return parser


def configuration(arguments: Mapping[str, str | None], environment: Mapping[str, str]) -> ServerConfig:
    """The configuration of this process, on this machine; ConfigError where it cannot be."""
    texts = {name: text for name, text in arguments.items() if text is not None}
    return resolve(
        read_options(texts, environment),
        processors=available_processors(),
        memory=available_memory(),
    )


def _serve(config: ServerConfig, parent: int | None) -> int:
    handler = set_up(config.log_level, sys.stderr)
    raise_descriptor_limit()
    stop = Stop()
    stop.on_signals()
    if parent is not None:
        stop.on_end_of(parent)
    server = Server(config)
    try:
        server.start()
    except StartError as error:
        return _complain(str(error), FAILED)
    gc.collect()
    gc.freeze()
    sys.stdout.write(f"gradwire {__version__} ready grpc={server.grpc_address} http={server.http_address}\n")
    sys.stdout.flush()
    reason = stop.wait()
    _log.info("draining: %s", reason)
    is_done = server.drain(_ORPHAN_SECONDS if stop.is_orphan else config.drain_timeout)
    _log.info("ended")
    logging.getLogger().removeHandler(handler)
    return DONE if is_done or stop.is_orphan else FAILED


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"gradwire serve: error: {message}\n")
    return status
