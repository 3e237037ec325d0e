"""The files in protobuf's text format that a server is configured with -> values."""
