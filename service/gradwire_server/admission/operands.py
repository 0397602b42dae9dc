"""The tensors of a request on their way to a worker, and the room that they take until the request is settled.

A tensor comes inline, or by the digest of a constant that the server keeps; with both, the constant is kept from now
on. What a request has taken (its bytes in the ledger, its hold on constants) it gives back once, through
`Taken.release`; a request that is refused has given everything back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from gradwire.wire.tensors import TensorView, tensor_digest
from gradwire_engine.types import DType
from gradwire_server.admission.ledger import Ledger
from gradwire_server.admission.store import ConstantStore, StoredConstant
from gradwire_server.processes.tasks import TaskInput
from gradwire_server.refusal import Refusal

Operand: TypeAlias = memoryview | bytes | StoredConstant

_MAX_DIGESTS: Final = 20


class Taken(NamedTuple):
    """What a request has taken: `operands` in the order of its tensors, and the constants among them."""

    operands: tuple[Operand, ...]
    constants: tuple[StoredConstant, ...]
    nbytes: int


class Operands:
    """Takes room and constants for requests. All methods may be called from any thread."""

    def __init__(self, ledger: Ledger, constants: ConstantStore) -> None:
        self._ledger = ledger
        self._constants = constants

    def take(self, tenant: str, views: Sequence[TensorView], nbytes: int) -> Taken:
        """Take room for a request of so many bytes, and the constants it names; `release` gives both back."""
        self._ledger.enter(nbytes)
        try:
            operands, constants = self._resolved(tenant, views)
        except BaseException:
            self._ledger.leave(nbytes)
            raise
        return Taken(operands, constants, nbytes)

    def release(self, taken: Taken) -> None:
        """The request is settled: it needs neither its room nor its constants any longer."""
        self._ledger.leave(taken.nbytes)
        for constant in taken.constants:
            self._constants.drop(constant)

    def _resolved(
        self, tenant: str, views: Sequence[TensorView]
    ) -> tuple[tuple[Operand, ...], tuple[StoredConstant, ...]]:
        """Where each tensor lies, and the constants that are held for it."""
        operands: list[Operand] = []
        held: list[StoredConstant] = []
        missing: list[bytes] = []
        try:
            for index, view in enumerate(views):
                if not view.digest:
                    assert view.data is not None
                    operands.append(view.data)
                    continue
                constant = self._constant(tenant, view, index)
                if constant is None:
                    missing.append(view.digest)
                else:
                    held.append(constant)
                    operands.append(constant)
            if missing:
                raise _not_found(missing)
        except BaseException:
            for constant in held:
                self._constants.drop(constant)
            raise
        return tuple(operands), tuple(held)

    def _constant(self, tenant: str, view: TensorView, index: int) -> StoredConstant | None:
        if view.data is None:
            return self._constants.hold(tenant, view.digest, view.type)
        digest = tensor_digest(view.dtype, view.shape, view.data)
        if digest != view.digest:
            path = f"inputs[{index}].digest"
            raise Refusal(
                "CONSTANT_HASH_MISMATCH",
                f"{path} is {view.digest.hex()}, but that of its data is {digest.hex()}",
                violations=[(path, f"expected {digest.hex()}")],
            )
        return self._constants.add(tenant, digest, view.type, view.data)


def task_input(dtype: DType, shape: tuple[int, ...], operands: Sequence[Operand]) -> TaskInput:
    """Operands one behind the other along axis 0, or one constant that lies in a memory file (always alone)."""
    first = operands[0]
    if isinstance(first, StoredConstant) and first.file is not None:
        return TaskInput(dtype=dtype, shape=shape, constant=first.file)
    return TaskInput(dtype=dtype, shape=shape, pieces=tuple([_content(operand) for operand in operands]))


def _content(operand: Operand) -> memoryview | bytes:
    if isinstance(operand, StoredConstant):
        assert operand.content is not None
        return operand.content
    return operand


def _not_found(missing: Sequence[bytes]) -> Refusal:
    named = ",".join([digest.hex() for digest in missing[:_MAX_DIGESTS]])
    return Refusal(
        "CONSTANT_NOT_FOUND",
        f"this server does not hold {len(missing)} of the tensors sent by digest; send their data too",
        details={"digests": named, "missing": str(len(missing))},
    )
