"""Protobuf <-> values: tensors, calls and results."""
