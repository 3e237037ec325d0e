"""One request, free of transport: resolve, pin, check, run."""
