"""What users name: the SDK's functions and classes with their signatures, the codec's, the contract, the metrics."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pkgutil
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

import gradwire as gw
import gradwire.wire
from gradwire.v1 import graph_pb2, ops_pb2, program_pb2, service_pb2, tensor_pb2

_CONTRACT: Final = (tensor_pb2, ops_pb2, graph_pb2, program_pb2, service_pb2)
_TYPES: Final = {
    number: name.removeprefix("TYPE_").lower()
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}
_SPOKEN: Final = ("__call__", "__enter__", "__exit__", "__len__", "__str__")
_PROMISED: Final = {"Remote": ("__call__", "clear", "explain", "graph", "map", "submit")}
"""The members that users are promised of a class which only this package makes, and whose others are its own."""

Names = dict[str, Any]


def described(found: Any) -> str | Names:
    """A function's signature; a class's with its members; a number; of anything else, that it is there."""
    if inspect.isclass(found):
        return _class(found)
    if inspect.isroutine(found):
        return _signature(found)
    return repr(found) if isinstance(found, (int, float)) or found is None else "value"


def _signature(found: Any) -> str:
    """Parameters and defaults: how somebody may call it, and not by what names the types are spelled."""
    try:
        signature = inspect.signature(found)
    except ValueError:
        return "(...)"
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def _class(found: type) -> Names:
    """Its bases by name, and what of it is public and ours."""
    bases = [one.__name__ for one in found.__mro__[1:] if one is not object]
    members: Names = {}
    for owner in reversed([one for one in found.__mro__ if one.__module__.startswith("gradwire")]):
        for name, member in vars(owner).items():
            if not name.startswith("_") or name in _SPOKEN:
                members[name] = _member(member)
    if found.__name__ in _PROMISED:
        return {"has": {name: members[name] for name in _PROMISED[found.__name__]}}
    fields = [one.name for one in dataclasses.fields(found)] if dataclasses.is_dataclass(found) else []
    made = {"made": _signature(found)} if not issubclass(found, BaseException) or "__init__" in vars(found) else {}
    return {"is": bases, **made, **({"fields": fields} if fields else {}), "has": dict(sorted(members.items()))}


def _member(member: Any) -> str:
    if isinstance(member, property):
        return "property"
    if isinstance(member, (staticmethod, classmethod)):
        return f"{type(member).__name__} {_signature(member.__func__)}"
    if inspect.isfunction(member):
        return _signature(member)
    if member is None or isinstance(member, (str, int, float)):
        return repr(member)
    return "value"


def of_the_sdk() -> Names:
    """Everything in `gradwire` and `gradwire.special`."""
    return {
        "gradwire": {name: described(getattr(gw, name)) for name in sorted(gw.__all__)},
        "gradwire.special": {name: described(getattr(gw.special, name)) for name in sorted(gw.special.__all__)},
    }


def of_the_codec() -> Names:
    """What the modules of `gradwire.wire` define."""
    found: Names = {}
    for one in pkgutil.iter_modules(gradwire.wire.__path__, "gradwire.wire."):
        module = import_module(one.name)
        assert module.__file__ is not None
        names = sorted(set(_defined(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))))
        found[one.name] = {name: described(getattr(module, name)) for name in names}
    return found


def _defined(module: ast.Module) -> Iterator[str]:
    """The public names that a module's own statements define."""
    for statement in module.body:
        names: list[str] = []
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            names = [statement.name]
        elif isinstance(statement, ast.Assign):
            names = [one.id for one in statement.targets if isinstance(one, ast.Name)]
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names = [statement.target.id]
        yield from [name for name in names if not name.startswith("_")]


def of_the_contract() -> list[str]:
    """Every field, value and method of `gradwire.v1`."""
    lines = []
    for module in _CONTRACT:
        file = module.DESCRIPTOR
        for message in file.message_types_by_name.values():
            lines += _message(message)
        for enum in file.enum_types_by_name.values():
            lines += _enum(enum)
        for service in file.services_by_name.values():
            lines += [
                f"{service.full_name}.{one.name}: {'stream ' * one.client_streaming}{one.input_type.full_name} -> "
                f"{'stream ' * one.server_streaming}{one.output_type.full_name}"
                for one in service.methods
            ]
    return [line.replace("gradwire.v1.", "") for line in lines]


def _message(message: Descriptor) -> list[str]:
    lines = []
    for field in message.fields:
        target = field.message_type or field.enum_type
        words = ["repeated"] * field.is_repeated + [target.full_name if target else _TYPES[field.type]]
        oneof = field.containing_oneof
        words += ["in", oneof.name] if oneof else []
        lines.append(f"{message.full_name}.{field.name} = {field.number}: {' '.join(words)}")
    return lines + [line for one in message.nested_types for line in _message(one)]


def _enum(enum: EnumDescriptor) -> list[str]:
    return [f"{enum.full_name}.{one.name} = {one.number}" for one in enum.values]


# What is served over HTTP

_SAMPLE: Final = re.compile(r"(\w+)(?:\{(.*)\})? \S+")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_KEPT: Final = ("le", "state")


def of_the_metrics(exposition: str) -> list[str]:
    """Each family's help and type, and its series, with the values of labels that do not depend on what was served."""
    lines = set()
    for line in exposition.splitlines():
        if line.startswith("#"):
            lines.add(line)
            continue
        found = _SAMPLE.fullmatch(line)
        assert found is not None, line
        labels = [
            f'{name}="{value if name in _KEPT or found[1] == "grpc_server_started_total" else "*"}"'
            for name, value in _LABEL.findall(found[2] or "")
        ]
        lines.add(f"{found[1]}{{{','.join(labels)}}}")
    return sorted(lines)


def fetched(address: str, path: str) -> tuple[int, str, str]:
    """Status, type and text of a page."""
    host = address.replace("0.0.0.0", "127.0.0.1")
    try:
        with urllib.request.urlopen(f"http://{host}{path}", timeout=60) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Content-Type", ""), error.read().decode()


def of_the_pages(address: str) -> Names:
    """What is served besides the metrics."""
    return {path: list(fetched(address, path)) for path in ("/healthz", "/readyz", "/nothing")}
