"""Messages have the fields of their records, so that nothing has to be written down about either a second time."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest

from gradwire.v1 import graph_pb2, program_pb2
from gradwire.wire.attributes import _FIELD_OF_NODE, read_attributes, write_attributes
from gradwire.wire.records import read_record, write_record
from gradwire_engine import attributes as a
from gradwire_engine.attributes import Attributes
from gradwire_engine.errors import GraphError
from gradwire_engine.ops.table import OPS
from gradwire_engine.program import Jacobian, JacobianMode, Transform, Vmap
from gradwire_engine.types import DType

WRITTEN_OUT = (a.Constant, a.Gather)


def field_names(record: type) -> set[str]:
    return {field.name for field in fields(record)}


@pytest.mark.parametrize("kind", get_args(Transform))
def test_a_transform_has_a_message_with_its_arguments(kind: type) -> None:
    kinds = program_pb2.Transform.DESCRIPTOR.oneofs_by_name["kind"].fields
    assert {field.name for field in kinds} == {kind.__name__.lower() for kind in get_args(Transform)}
    message = program_pb2.Transform.DESCRIPTOR.fields_by_name[kind.__name__.lower()].message_type
    assert set(message.fields_by_name) == field_names(kind)


@pytest.mark.parametrize("family", [family for family in _FIELD_OF_NODE if family not in WRITTEN_OUT])
def test_a_family_of_attributes_has_a_message_with_its_fields(family: type[Attributes]) -> None:
    message = graph_pb2.Node.DESCRIPTOR.fields_by_name[_FIELD_OF_NODE[family]].message_type
    expected = field_names(family)
    if issubclass(family, a.Rowwise):
        rows = field_names(a.Rowwise)
        assert set(message.fields_by_name["rows"].message_type.fields_by_name) == rows
        expected = (expected - rows) | {"rows"}
    assert set(message.fields_by_name) == expected


def test_every_family_that_an_op_takes_has_a_field() -> None:
    assert {op.attributes for op in OPS.values()} - {Attributes} <= set(_FIELD_OF_NODE)
    carried = graph_pb2.Node.DESCRIPTOR.oneofs_by_name["attributes"].fields
    assert {field.name for field in carried} == set(_FIELD_OF_NODE.values())


def test_enums_stand_there_as_the_contract_numbers_them() -> None:
    message = program_pb2.Jacobian()
    write_record(Jacobian((1, 2), JacobianMode.REVERSE), message, ("inputs", "mode"))
    assert message == program_pb2.Jacobian(inputs=[1, 2], mode=program_pb2.JACOBIAN_MODE_REVERSE)
    assert read_record(message, ("inputs", "mode"), "") == {"inputs": (1, 2), "mode": JacobianMode.REVERSE}
    message.mode = 9  # type: ignore[assignment]
    with pytest.raises(GraphError, match="Jacobian mode 9 does not exist") as error:
        read_record(message, ("mode",), "transforms[3].jacobian")
    assert error.value.path == "transforms[3].jacobian.mode"


def test_what_is_left_at_its_default_comes_back_as_such() -> None:
    message = program_pb2.Vmap()
    write_record(Vmap(3, (0, -1)), message, ("size", "in_axes", "out_axes"))
    assert Vmap(**read_record(message, ("size", "in_axes", "out_axes"), "")) == Vmap(3, (0, -1))
    node = graph_pb2.Node()
    write_attributes(a.Iota(DType.INT32, (2, 3), 1), node)
    assert read_attributes(OPS["iota"], node) == a.Iota(DType.INT32, (2, 3), 1)
