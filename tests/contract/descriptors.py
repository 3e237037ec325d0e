"""Our own descriptors: every file, message, enum and service of proto/, as the server has it."""

from __future__ import annotations

import importlib

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor, ServiceDescriptor

from tests.contract.processes import REPOSITORY


def module_of(proto: str, *, package: str = "sigrun._gen") -> str:
    """Return the generated module for a file of proto/."""
    return f"{package}.{proto.removesuffix('.proto').replace('/', '.')}_pb2"


def our_files() -> dict[str, FileDescriptor]:
    """Return the descriptor of every file of proto/ that others have too, as the server carries it.

    Those of package `sigrun` are ours alone.
    """
    root = REPOSITORY / "proto"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.proto"))
    names = [name for name in names if not name.startswith("sigrun/")]
    return {name: importlib.import_module(module_of(name)).DESCRIPTOR for name in names}


def messages(files: dict[str, FileDescriptor]) -> dict[str, Descriptor]:
    """Return every message, nested ones too, by full name; entries of maps aside."""
    found: dict[str, Descriptor] = {}
    waiting = [m for file in files.values() for m in file.message_types_by_name.values()]
    while waiting:
        message = waiting.pop()
        if not message.GetOptions().map_entry:
            found[message.full_name] = message
            waiting += message.nested_types
    return dict(sorted(found.items()))


def enums(files: dict[str, FileDescriptor]) -> dict[str, EnumDescriptor]:
    """Return every enum, nested ones too, by full name."""
    nested = [enum for m in messages(files).values() for enum in m.enum_types]
    top = [enum for file in files.values() for enum in file.enum_types_by_name.values()]
    return {enum.full_name: enum for enum in sorted(top + nested, key=lambda e: e.full_name)}


def services(files: dict[str, FileDescriptor]) -> dict[str, ServiceDescriptor]:
    """Return every service, by full name."""
    return {s.full_name: s for file in files.values() for s in file.services_by_name.values()}
