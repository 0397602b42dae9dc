"""Making a call: its request is sent, and sent again with what the service turns out not to know.

A program of more than 4 KiB goes by its id alone, and a constant by its digest, as soon as the service is believed to
have them. A service that does not (another replica, a restart) says NOT_FOUND, and gets them. Other failures are never
answered by sending again: retries are the channel's business.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, Final

from gradwire.calls.arguments import Leaves
from gradwire.calls.constants import Constant
from gradwire.calls.reports import Collectors, collect, collectors
from gradwire.calls.template import RequestTemplate
from gradwire.connection.current import ServiceClient
from gradwire.errors import GradwireError, RequestError, RowError
from gradwire.wire.errors import WireError
from gradwire.wire.responses import decode_evaluated

_RESENDS: Final = 3


class Exchange:
    """One evaluation: its requests, and the meaning of the answers."""

    def __init__(
        self, template: RequestTemplate, leaves: Leaves, constants: tuple[Constant, ...], client: ServiceClient
    ) -> None:
        self._template = template
        self._client = client
        self._leaves = leaves
        self._constants = constants
        self._resends = 0
        self._sent_bytes = 0

    def request(self) -> bytes:
        """What is to be sent now."""
        template, client = self._template, self._client
        client.require_size(template.argument_bytes)  # before they are copied
        everything = self._resends == _RESENDS
        by_id = not template.is_small and not everything and template.program.id in client.known_programs
        known: Any = () if everything else client.known_constants
        request = template.request(self._leaves, self._constants, by_id=by_id, known=known)
        self._sent_bytes = len(request)
        return request

    def sends_again(self, error: GradwireError) -> bool:
        """Whether an error only says that the service lacks something."""
        if self._resends == _RESENDS or not isinstance(error, RequestError):
            return False
        if error.reason == "PROGRAM_NOT_FOUND":
            self._client.known_programs.discard(self._template.program.id)
        elif error.reason == "CONSTANT_NOT_FOUND":
            for constant in self._template.constants(self._constants):
                self._client.known_constants.discard(constant.digest)
        else:
            return False
        self._resends += 1
        return True

    def explained(self, error: GradwireError) -> GradwireError:
        """The error, with what is known here of where it comes from."""
        if isinstance(error, RowError):
            return self._template.row_error(error)
        return self._template.located(error) if isinstance(error, RequestError) else error

    def result(self, response: bytes, into: Collectors) -> Any:
        """What the caller gets for a response."""
        template, client = self._template, self._client
        if not template.is_small:
            client.known_programs.put(template.program.id, True)
        for constant in template.constants(self._constants):
            client.known_constants.put(constant.digest, True)
        try:
            evaluated = decode_evaluated(response)
        except WireError as error:
            raise RequestError(f"the service's answer does not parse: {error.message}", reason=error.reason) from None
        if into:
            collect(into, evaluated.report, self._sent_bytes, len(response))
        return template.answer(evaluated)


def evaluate(template: RequestTemplate, leaves: Leaves, constants: tuple[Constant, ...], client: ServiceClient) -> Any:
    """The result of a call; GradwireError where there is none."""
    exchange = Exchange(template, leaves, constants, client)
    while True:
        try:
            response = client.call("Evaluate", exchange.request())
        except RequestError as error:
            if not exchange.sends_again(error):
                raise exchange.explained(error) from None
        else:
            return exchange.result(response, collectors())


class Pending(Future[Any]):
    """The result of a call that has been sent; `cancel` cancels the call."""

    def __init__(self) -> None:
        super().__init__()
        self._call: Any = None

    def cancel(self) -> bool:
        """Cancel the call; False if it is done already."""
        cancelled = super().cancel()
        if cancelled:
            self.set_running_or_notify_cancel()
            if self._call is not None:
                self._call.cancel()
        return cancelled

    def follow(self, call: Any) -> None:
        """The RPC that will settle it."""
        self._call = call
        if self.cancelled():
            call.cancel()


def submit(
    template: RequestTemplate, leaves: Leaves, constants: tuple[Constant, ...], client: ServiceClient
) -> Pending:
    """Send a call without waiting for its result. The arguments may be changed as soon as this returns."""
    if not template.is_small or template.constants(constants):  # else nothing is ever sent again
        leaves = _settled(leaves)
    exchange = Exchange(template, leaves, constants, client)
    pending = Pending()
    into = collectors()

    def send() -> None:
        pending.follow(client.start("Evaluate", exchange.request(), done))

    def done(response: bytes | None, error: GradwireError | None) -> None:
        if error is not None and exchange.sends_again(error):
            _attempt(pending, send)
        elif error is not None:
            failure = exchange.explained(error)
            _settle(pending, lambda: pending.set_exception(failure))
        else:
            assert response is not None
            _attempt(pending, lambda: _finish(pending, exchange.result(response, into)))

    send()
    return pending


def _settled(leaves: Leaves) -> Leaves:
    """The arguments as they are now: what has to be sent again must not have changed."""
    return [leaf.copy() if hasattr(leaf, "flags") and leaf.shape else leaf for leaf in leaves]


def _attempt(pending: Pending, action: Callable[[], None]) -> None:
    """Do something in gRPC's thread; whatever goes wrong is the caller's to see."""
    try:
        action()
    except Exception as error:
        failure = error
        _settle(pending, lambda: pending.set_exception(failure))


def _finish(pending: Pending, result: Any) -> None:
    _settle(pending, lambda: pending.set_result(result))


def _settle(pending: Pending, action: Callable[[], None]) -> None:
    try:
        action()
    except InvalidStateError:
        if not pending.cancelled():
            raise
