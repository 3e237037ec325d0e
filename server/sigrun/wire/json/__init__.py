"""JSON <-> arrays and documents."""
