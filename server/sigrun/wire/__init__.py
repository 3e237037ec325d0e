"""Bytes in, bytes out: the only place that knows protobuf, gRPC, HTTP and JSON."""
