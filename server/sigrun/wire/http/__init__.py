"""HTTP: one ASGI application, its routes, and JSON <-> arrays."""
