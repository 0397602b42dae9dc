"""What every kind of call does with a request that cannot go on: make a Refusal of whatever was raised, and log it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gradwire_engine.errors import EngineError
from gradwire_server.refusal import Refusal, from_engine, internal

Arguments = ParamSpec("Arguments")
Sliced = TypeVar("Sliced")


def sliced(slicer: Callable[Arguments, Sliced], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Sliced:
    """A message as the wire's slicer takes it apart; a Refusal where it does not parse."""
    try:
        return slicer(*args, **kwargs)
    except EngineError as error:
        raise from_engine(error) from None


def refusal_of(error: Exception, logger: logging.Logger) -> Refusal:
    """The refusal that was raised; any other exception is a fault of ours, and leaves a traceback in the log."""
    if isinstance(error, Refusal):
        return error
    logger.error("unexpected exception", exc_info=error)
    return internal(repr(error))


def log_refusal(logger: logging.Logger, refusal: Refusal) -> None:
    """One line for what was refused; a fault of ours is an error, with what the client does not get to see."""
    level = logging.ERROR if refusal.reason == "INTERNAL" else logging.INFO
    if logger.isEnabledFor(level):
        fields = {"reason": refusal.reason, **({"detail": refusal.log} if refusal.log else {})}
        logger.log(level, "%s", refusal.message, extra={"fields": fields})
