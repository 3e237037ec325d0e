"""gRPC: the server, one file per service, health and reflection."""
