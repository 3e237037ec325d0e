"""grpcio's server beside our own transport: the same RPCs, for whoever trusts C-core more."""
