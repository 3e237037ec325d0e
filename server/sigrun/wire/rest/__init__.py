"""TensorFlow Serving's JSON API: routes, documents, bodies; probes and metrics."""
