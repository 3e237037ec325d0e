"""The life of a servable: source, loader, manager, handle, and the states on the way."""
