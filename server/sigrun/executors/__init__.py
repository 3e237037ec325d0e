"""Arrays in, arrays out: models loaded and run, the only place that knows TensorFlow."""
